import pytest

from ci.engine.envfile import EnvFile

TEXT = """\
# a comment
A=1
export B = two words   # trailing
C='$A stays'
D="x$A\\n${B}"
A=2

not a line
EMPTY=
"""


def test_lines_are_read_as_a_shell_would() -> None:
    found = EnvFile.parse(TEXT)
    assert found.values() == {
        "A": "2",
        "B": "two words",
        "C": "$A stays",
        "D": "x2\ntwo words",
        "EMPTY": "",
    }
    assert dict(found.raw)["C"] == "'$A stays'"


def test_references_mean_the_file_before_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HERE", "host")
    monkeypatch.setenv("A", "host")
    found = EnvFile.parse("A=file\nB=$A-$FROM_HERE-${NOWHERE:-default}")
    assert found.values()["B"] == "file-host-default"


@pytest.mark.parametrize(
    ("raw", "value"),
    [("\\$A", "$A"), ('"a \\"b\\""', 'a "b"'), ("a#b", "a#b"), ("'open", "'open"), ("", "")],
)
def test_quotes_and_escapes(raw: str, value: str) -> None:
    assert EnvFile((("A", "1"), ("B", raw))).values()["B"] == value


def test_a_namespace_has_the_prefix_taken_off() -> None:
    found = EnvFile.parse("MY_APP_TOKEN=t\nmy_app_NAME=n\nMY_APPLE=x\nOTHER=o")
    assert found.namespace("my-app").values() == {"TOKEN": "t", "NAME": "n"}
    assert found.namespace("MY_APP_").values() == {"TOKEN": "t", "NAME": "n"}


def test_changes_keep_the_order_and_the_old_file() -> None:
    old = EnvFile.parse("A=1\nB=2\n")
    new = old.with_variable("A", "3").with_variable("C", "4").with_variable("B", None)
    assert new.text() == "A=3\nC=4\n"
    assert old.text() == "A=1\nB=2\n"
