"""Any command line, acso.toml and environment ends with a documented exit code and one sentence.

25 examples of each by default; `--hypothesis-profile=long` runs 2,000 (CONTRIBUTING.md).
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ci.cli.help import EXAMPLES
from ci.cli.mistakes import commands_of
from ci.cli.program import make_parser
from ci.cli.signatures import from_module
from tests.unit.cli.dry import CODES, ROOT, Ended, dry, run
from tests.unit.json_documents import published, validator

TEXT = (ROOT / "tests" / "acso.toml").read_text()
LONG = settings.get_current_profile_name() == "long"
few = settings(max_examples=2000 if LONG else 25, deadline=None)
pytestmark = pytest.mark.timeout(3600 if LONG else 120)


#: Without the results, which are made up in these tests.
SCHEMA = validator({**published("json-output.schema.json"), "allOf": []})
FLAGS = sorted(
    {
        name
        for parser in [make_parser(from_module())]
        for sub in [parser, *commands_of(parser).values()]
        for action in sub._actions
        for name in action.option_strings
    }
)
NAMES = ["development", "staging", "production", "supervisor", "threat-hunter", "prodution"]
ODD = ["", "-", "--", "-5", "0", "1e9", "9" * 5000, "5GB", "7d", "999999999w", "garbage", "\udcff"]
ODD += ["env://HOME", "file:///no/such", "cmd://true", "http://[", "https://x:0", "[/x]", "a\\[b"]
ODD += [
    "x" * 300,
    "\x1b[31m",
    ":smile:",
    "%s %(prog)s",
    "nosuch",
    "run",
    "engine",
    "bash",
    "[",
    "*",
]
PLACES = [str(ROOT), str(ROOT / "acso.toml"), "/no/such", "/", "/dev/null", "plan.json"]
word = st.one_of(
    st.sampled_from([*EXAMPLES, *FLAGS, *NAMES, *ODD, *PLACES]),
    st.text(st.characters(exclude_characters="/\0"), max_size=12),  # no path of this machine
)
command_line = st.builds(
    lambda first, command, rest: [*first, command, *rest],
    st.lists(word, max_size=2),
    st.sampled_from(sorted(EXAMPLES)),
    st.lists(word, max_size=6),
)
value = st.one_of(
    st.integers(min_value=-(10**20), max_value=10**20).map(str),
    st.sampled_from(["true", "[]", "{}", '""', "nan", "1.5", '["x"]', "1979-05-27", "'''x\n'''"]),
    st.text(max_size=8).map(json.dumps),
)


@pytest.fixture(autouse=True, scope="module")
def patch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    with dry(tmp_path_factory.mktemp("fuzz")) as patch:
        yield patch


def check(argv: Sequence[str], ended: Ended) -> None:
    """Assert what holds for the end of every command line."""
    assert ended.code in CODES
    assert "Traceback" not in ended.out + ended.err
    assert "this is a defect" not in ended.err
    assert not Path("XDG_STATE_HOME").exists()
    if ended.code:
        err = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]|\r", "", ended.err)  # of FORCE_COLOR
        assert re.search(r"(?m)^error: .", err), argv
        assert re.search(r"(?m)^  next: .", err), argv
    before = argv[: argv.index("--")] if "--" in argv else argv
    if ended.code == 2 and "--json" in before:
        SCHEMA.validate(json.loads(ended.out))


@few
@given(command_line)
@example(["engine", "run", "--", "nosuch"])
@example(["logs", "--env", "development", "--since", "999999999w"])
@example(["deploy", "--env", "development", "--plan", "/no/such"])
@example(["--endpoint", "garbage", "status", "--env", "development"])
@example(["status", "--env", "a\\[/b]"])
def test_any_command_line(argv: list[str]) -> None:
    check(argv, run(argv))


@few
@given(command_line)
def test_any_command_line_with_json_prints_one_document(argv: list[str]) -> None:
    argv = ["status", "--json", *argv[1:]]
    ended = run(argv)
    check(argv, ended)
    if "--watch" not in argv:
        SCHEMA.validate(json.loads(ended.out))


@st.composite
def edited(draw: st.DrawFn) -> bytes:
    """Return acso.toml with a few lines changed, repeated, removed or broken."""
    lines = TEXT.splitlines()
    for _ in range(draw(st.integers(1, 3))):
        index = draw(st.integers(0, len(lines) - 1))
        key = lines[index].partition("=")[0]
        kinds = [
            [f"{key}= {draw(value)}"],
            [lines[index], lines[index]],
            [],
            [draw(st.text(max_size=20))],
            [
                lines[index],
                f"{draw(st.sampled_from(['branch', 'event', 'calls']))} = {draw(value)}",
            ],
        ]
        lines[index : index + 1] = draw(st.sampled_from(kinds))
        lines = lines or [""]
    data = "\n".join(lines).encode(errors="surrogatepass")
    return draw(st.sampled_from([data, b"\xef\xbb\xbf" + data, data[: len(data) // 2]]))


@few
@given(edited())
@example(b"x = " + b"[" * 5000)
@example(b"x = " + b"9" * 5000)
@example(b"\xff\xfe")
@example(b"")
def test_any_acso_toml(data: bytes) -> None:
    Path("acso.toml").write_bytes(data)
    argv = ["--source", ".", "status", "--env", "development"]
    ended = run(argv)
    check(argv, ended)
    assert ended.code in (0, 2, 3)
    assert len(ended.err.splitlines()) in (0, 2), ended.err


VARIABLES = ["COLUMNS", "LINES", "TERM", "NO_COLOR", "FORCE_COLOR", "LANG", "HOME", "USER"]
VARIABLES += ["ACSO_INSTANCE", "AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_MAX_ATTEMPTS", "AWS_REGION"]
VARIABLES += ["AWS_RETRY_MODE", "AWS_CONFIG_FILE", "AWS_CA_BUNDLE", "DOCKER_HOST", "TTY_COMPATIBLE"]
VARIABLES += [
    "XDG_CONFIG_HOME",
    "GITHUB_STEP_SUMMARY",
    "AWS_DEFAULTS_MODE",
    "AWS_USE_FIPS_ENDPOINT",
]
setting = st.one_of(
    st.sampled_from([item for item in ODD if item != "9" * 5000] + ["/no/such", "²", "-1", "true"]),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), max_size=8),
)


@few
@given(
    st.dictionaries(st.sampled_from(VARIABLES), setting, max_size=4),
    st.sampled_from(["status --env development", "doctor", "completion bash", "deploy --help"]),
)
@example({"AWS_ENDPOINT_URL": "garbage"}, "status --env development")
@example({"AWS_MAX_ATTEMPTS": "garbage"}, "status --env development")
@example({"ACSO_INSTANCE": "../x"}, "doctor")
@example({"COLUMNS": "²"}, "doctor --json")
def test_any_environment(variables: dict[str, str], line: str) -> None:
    argv = line.split()
    with pytest.MonkeyPatch.context() as patch:
        for name, text in variables.items():
            patch.setenv(name, os.fsdecode(os.fsencode(text)))
        check(argv, run(argv))
