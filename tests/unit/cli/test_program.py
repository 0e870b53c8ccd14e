"""The command line: made from the functions, checked before anything starts."""

import argparse
import json
from pathlib import Path

import pytest

from ci.cli import program
from ci.cli.program import _use, make_parser
from ci.cli.session import refuse_unknown, uses_local_aws
from ci.cli.signatures import Description, describe, from_module
from ci.config import load
from ci.errors import HostError, UsageError
from ci.report.result import RenderedResult

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def module() -> Description:
    return from_module()


@pytest.fixture(scope="module")
def parser(module: Description) -> argparse.ArgumentParser:
    return make_parser(module)


def test_every_function_is_a_command_with_its_own_help(
    module: Description, parser: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    for function in module.functions:
        with pytest.raises(SystemExit) as done:
            parser.parse_args([function.command, "--help"])
        assert done.value.code == 0
        out = capsys.readouterr().out
        assert function.doc.splitlines()[0] in out
        shown = [p for p in function.parameters if p.name not in ("format", "args")]
        assert all(p.flag in out for p in shown)


def test_every_function_and_parameter_is_documented(module: Description) -> None:
    for function in module.functions:
        assert function.doc, function.name
        assert all(parameter.doc for parameter in function.parameters), function.name


def test_flags_are_those_of_dagger_call(parser: argparse.ArgumentParser) -> None:
    given = parser.parse_args(["--endpoint", "http://x", "deploy", "--env", "staging", "--dirty"])
    assert (given.constructor_endpoint, given.env, given.dirty) == ("http://x", "staging", True)
    assert not hasattr(given, "commit")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "COMMAND"),
        (["cache", "--keep", "5parsecs"], "'5parsecs' is not a number with one of"),
        (["deploi"], "invalid choice: 'deploi'"),
        (["deploy"], "--env"),
        (["deploy", "--enviroment", "x"], "--env"),
        (["deploy", "--env", "staging", "--aws", "maybe"], "invalid choice: 'maybe'"),
        (["plan", "--env", "staging", "--output", "/no/such/place/plan.json"], "no directory"),
        (["plan", "--env", "staging", "--output", "/"], "is a directory"),
        (["plan", "--env", "staging", "--output", "n" * 300], "File name too long"),
        (["--aws-access-key-id", "AKIA", "status", "--env", "x"], "env://NAME"),
        (["--webhook", "env://NO_SUCH", "deploy", "--env", "x"], "has no variable NO_SUCH"),
        (["--webhook", "file:///no/such", "deploy", "--env", "x"], "there is no such file"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what(
    argv: list[str],
    said: str,
    parser: argparse.ArgumentParser,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as done:
        parser.parse_args(argv)
    assert done.value.code == 2
    assert said in capsys.readouterr().err


def test_a_command_stands_behind_two_hyphens_with_flags_of_its_own(
    parser: argparse.ArgumentParser,
) -> None:
    for verb in ("run-task", "exec"):
        mine = [verb, "--env", "staging", "--agent", "supervisor", "--"]
        given = parser.parse_args([*mine, "python", "-c", "print(1)", "--env", "other"])
        assert (given.env, given.agent) == ("staging", "supervisor")
        assert given.args == ["python", "-c", "print(1)", "--env", "other"]
        with pytest.raises(SystemExit):
            parser.parse_args(mine)


def test_what_the_command_line_adds_is_done_only_where_asked_for(
    parser: argparse.ArgumentParser,
) -> None:
    def use(*argv: str) -> object:
        return _use(parser.parse_args([*argv, "--env", "staging"]))

    assert use("status") is None
    assert use("status", "--watch") is not None
    assert use("plan") is None
    for follow in ((), ("--follow",), ("--agent", "a", "--agent", "b", "--since", "1h")):
        assert use("logs", *follow) is not None


async def test_output_is_the_json_document_whatever_is_printed(
    parser: argparse.ArgumentParser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = RenderedResult("2 changes", document='{"changed": true}', exit_code=2)

    async def call(*_: object) -> str:
        return result

    monkeypatch.setattr(program, "call", call)
    path = tmp_path / "plan.json"
    options = parser.parse_args(["plan", "--env", "staging", "--output", str(path)])
    assert await options.run(options) is result
    assert json.loads(path.read_text()) == {"changed": True}


async def test_a_file_that_cannot_be_written_is_an_error_and_not_a_defect(
    parser: argparse.ArgumentParser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def call(*_: object) -> str:
        return RenderedResult("x", document="{}")

    monkeypatch.setattr(program, "call", call)
    path = tmp_path / "plan.json"
    options = parser.parse_args(["plan", "--env", "staging", "--output", str(path)])
    path.mkdir()  # meanwhile
    with pytest.raises(HostError, match="Is a directory"):
        await options.run(options)


def test_a_secret_s_value_is_not_repeated_when_it_is_refused(
    parser: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser.parse_args(["--aws-secret-access-key", "wJalrXUtnFEMI", "check"])
    assert "wJalrXUtnFEMI" not in capsys.readouterr().err


def test_the_description_is_kept_by_content(tmp_path: Path, module: Description) -> None:
    main = ROOT / "ci" / "main.py"
    assert describe(main, tmp_path) == module
    (kept,) = tmp_path.iterdir()
    stored = json.loads(kept.read_text())
    stored["doc"] = "from the cache"
    kept.write_text(json.dumps(stored))
    assert describe(main, tmp_path).doc == "from the cache"


def test_a_broken_cache_is_made_anew(tmp_path: Path, module: Description) -> None:
    main = ROOT / "ci" / "main.py"
    describe(main, tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_text(kept.read_text()[:100])
    assert describe(main, tmp_path) == module


@pytest.mark.parametrize(
    ("name", "chosen", "local"),
    [
        ("development", "auto", True),
        ("staging", "auto", False),
        ("production", "auto", False),
        ("production", "local", True),
        ("development", "real", False),
    ],
)
def test_only_development_is_on_the_embedded_aws_by_itself(
    name: str, chosen: str, *, local: bool
) -> None:
    assert uses_local_aws(load(ROOT / "tests" / "acso.toml"), name, chosen) is local


def test_development_with_an_account_is_on_the_real_aws(tmp_path: Path) -> None:
    path = tmp_path / "acso.toml"
    text = (ROOT / "tests" / "acso.toml").read_text()
    path.write_text(text.replace('branch = "develop"', 'branch = "x"\naccount = "123456789012"'))
    assert uses_local_aws(load(path), "development", "auto") is False


@pytest.mark.parametrize(
    "given",
    [
        {"env": "prodution"},
        {"from_": "stagin"},
        {"agent": "superviser"},
        {"agent": ["supervisor", "superviser"]},
    ],
)
def test_a_mistyped_name_is_told_before_anything_starts(given: dict[str, object]) -> None:
    config = load(ROOT / "tests" / "acso.toml")
    refuse_unknown(config, {"env": "staging", "agent": "supervisor"})
    with pytest.raises(UsageError, match="did you mean"):
        refuse_unknown(config, given)
