import pytest

from ci.engine.errors import EngineError
from ci.engine.formats.envfile import EnvFile

TEXT = b"""\xef\xbb\xbf# a comment
A=1
export B="two words"   # trailing
C='$A stays'
D="x$A
${B}"
A=2
E=$LATER

EMPTY=
NAME
LATER=hello dog
"""


def test_lines_are_read_as_a_shell_would() -> None:
    found = EnvFile.parse(TEXT)
    assert found.values() == {
        "A": "2",
        "B": "two words",
        "C": "$A stays",
        "D": "x2\ntwo words",
        "E": "hello dog",
        "EMPTY": "",
        "LATER": "hello dog",
        "NAME": "",
    }
    assert dict(found.raw)["C"] == "'$A stays'"


def test_references_mean_the_file_before_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HERE", "host")
    monkeypatch.setenv("A", "host")
    found = EnvFile.parse(b"A=file\nB=$A-$FROM_HERE-${NOWHERE:-default}")
    assert found.values()["B"] == "file-host-default"


# The values are those of a Dagger engine v0.21.8.
@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("1 # c", "1 # c"),
        ('"x" # c', "x"),
        ("'it''s' \"b  c\"  d", "its b  c d"),
        ("\\$A", "$A"),
        ('"a \\"b\\""', 'a "b"'),
        ("a#b", "a#b"),
        ("", ""),
        ("a\\nb", "anb"),
        ('"a\\nb"', "a\\nb"),
        ("$'a\\nb'", "a\nb"),
        ('"x" & y', "x"),
        ('x;y"z"', "x"),
        ("'$A'$A", "$A1"),
        ('$X."$X"', "a b.a  b"),
        ("$1", "$1"),
        ("a$", "a$"),
        ("${EMPTY:-d}", "d"),
        ("${NOPE+x}y", "y"),
        ("${A+x}y", "xy"),
        ("${#X}", "4"),
        ("${NOPE:-${A}b}", "1b"),
        ("!@#$%^&*()", "!@#$%^&*()"),
        ("x*'y'", "x*y"),
        ("~/x$A", "/home/x/x1"),
        ('["ga", "bu", 42]', "[ga, bu, 42]"),
        ('"[\\"ga\\", 42]"', '["ga", 42]'),
    ],
)
def test_quotes_and_escapes(monkeypatch: pytest.MonkeyPatch, raw: str, value: str) -> None:
    monkeypatch.setenv("HOME", "/home/x")
    file = EnvFile((("A", "1"), ("X", "'a  b'"), ("EMPTY", ""), ("B", raw)))
    assert file.values()["B"] == value


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        ("$NOPE", "NOPE"),
        ('"$1"', "1"),
        ("$EMPTY", "EMPTY"),
        ("$(echo x)", "command"),
        ("`x`", "command"),
        ("'open", "closing"),
        ('"open', "closing"),
        ("${A", "closing"),
        ("${A%x}", "A%x"),
        ("${NOPE?is needed}", "NOPE: is needed"),
        ('a|"b"', "quote"),
        ("$B", "B"),
    ],
)
def test_a_bad_value_is_named_and_fails_no_other(raw: str, word: str) -> None:
    file = EnvFile((("A", "1"), ("EMPTY", ""), ("B", raw)))
    with pytest.raises(EngineError, match="env file: B: ") as caught:
        file.get("B")
    assert word in str(caught.value)
    assert file.get("A") == "1"


@pytest.mark.parametrize("line", ["not a line", "A = 1"])
def test_a_line_that_sets_nothing_is_an_error(line: str) -> None:
    with pytest.raises(EngineError, match=line):
        EnvFile.parse(line.encode())


def test_a_quote_that_is_never_closed_takes_no_other_line() -> None:
    found = EnvFile.parse(b"A=\"open\nB='x\ny'\nC=it's\nD=don't")
    assert dict(found.raw) == {"A": '"open', "B": "'x\ny'", "C": "it's", "D": "don't"}


def test_a_file_that_is_not_utf8_is_read_all_the_same() -> None:
    assert EnvFile.parse(b"# d\xe9j\xe0\nA=1\nB=\xe9").values() == {"A": "1", "B": "\udce9"}


def test_a_namespace_has_the_prefix_taken_off() -> None:
    found = EnvFile.parse(b"MY_APP_TOKEN=t\nmyApp_NAME=$OTHER\nmy-app_URL=u\nMY_APPLE=x\nOTHER=o")
    for prefix in ("my-app", "MY_APP_", "my_app", "myApp"):
        assert found.namespace(prefix).values() == {"TOKEN": "t", "NAME": "o", "URL": "u"}


def test_changes_keep_the_order_and_the_old_file() -> None:
    old = EnvFile.parse(b"A=1\nB=2\n")
    new = old.with_variable("A", "3").with_variable("C", "4").with_variable("B", None)
    assert new.text() == "A=3\nC=4\n"
    assert old.text() == "A=1\nB=2\n"
