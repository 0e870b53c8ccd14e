"""The command line: generated from the functions; arguments are checked before anything starts."""

import argparse
import json
import re
from pathlib import Path

import pytest

from ci import errors
from ci.cli import program
from ci.cli.arguments import NotRunError
from ci.cli.help import EPILOG
from ci.cli.program import _handler, make_parser
from ci.cli.session import check_names, uses_local_aws
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
    module: Description, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "102")
    for function in module.functions:
        assert program.main([function.command, "--help"]) == 0
        out = capsys.readouterr().out
        assert function.doc.splitlines()[0] in out
        shown = [p for p in function.parameters if p.name not in ("format", "args")]
        assert all(p.flag in out for p in shown)


def test_every_exit_code_is_listed_in_the_help(
    parser: argparse.ArgumentParser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "102")
    listed = set(map(int, re.findall(r"(?m)^ +(\d+)  ", EPILOG)))
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.exit_code for kind in kinds if issubclass(kind, errors.AcsoError)}
    assert listed == codes | {0}
    assert EPILOG in parser.format_help()


def test_every_function_and_parameter_is_documented(module: Description) -> None:
    for function in module.functions:
        assert function.doc, function.name
        assert all(parameter.doc for parameter in function.parameters), function.name


def test_flags_are_those_of_dagger_call(parser: argparse.ArgumentParser) -> None:
    given = parser.parse_args(["--endpoint", "http://x", "deploy", "--env", "staging", "--dirty"])
    assert (given.constructor_endpoint, given.env, given.dirty) == ("http://x", "staging", True)
    assert not hasattr(given, "commit")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "COMMAND"),
        (["cache", "--keep", "5parsecs"], "'5parsecs'"),
        (["bench"], "name a benchmark: engine, deploys, services or agents"),
        (["logs", "--env", "x", "--since", "999999999w"], "too long a duration"),
        (["logs", "--env", "x", "--since", "yesterday"], "examples: 30s"),
        (["logs", "--env", "x", "--grep", "("], "not a valid regular expression"),
        (["--endpoint", "garbage", "status", "--env", "x"], "'garbage' is not a URL"),
        (["--source", "/no/such", "status", "--env", "x"], "there is no such directory"),
        (["deploy", "--env", "staging", "--env", "production"], "--env: given twice"),
        (["deploy", "--env", "staging", "--dirty", "--no-dirty"], "given twice"),
        (["deploy", "--env", "staging", "--wait", "-5"], "-5 is not a number from 0"),
        (["deploy", "--env", "staging", "--plan", "/no/such"], "cannot read /no/such"),
        (["history", "--env", "staging", "--limit", "0"], "0 is not a number from 1"),
        (["history", "--env", "staging", "5"], "unknown argument '5'"),
        (["logs", "--env", "x", "--follow", "--output", "x.json"], "--follow"),
        (["deploy"], "--env"),
        (["deploy", "--env", "staging", "--aws", "maybe"], "invalid choice: 'maybe'"),
        (
            ["plan", "--env", "staging", "--output", "/no/such/place/plan.json"],
            "its directory does not exist",
        ),
        (["plan", "--env", "staging", "--output", "/"], "is a directory"),
        (["plan", "--env", "staging", "--output", "n" * 300], "File name too long"),
        (["--aws-access-key-id", "AKIA", "status", "--env", "x"], "env://NAME"),
        (["--webhook", "env://NO_SUCH", "deploy", "--env", "x"], "has no variable NO_SUCH"),
        (["--webhook", "file:///no/such", "deploy", "--env", "x"], "there is no such file"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err.splitlines()[0]
    assert err.splitlines()[1].startswith("  next: ./acso ")


def test_a_command_after_two_hyphens_keeps_its_own_flags(
    parser: argparse.ArgumentParser,
) -> None:
    for verb in ("run-task", "exec"):
        mine = [verb, "--env", "staging", "--agent", "supervisor", "--"]
        given = parser.parse_args([*mine, "python", "-c", "print(1)", "--env", "other"])
        assert (given.env, given.agent) == ("staging", "supervisor")
        assert given.args == ["python", "-c", "print(1)", "--env", "other"]
        with pytest.raises(NotRunError):
            parser.parse_args(mine)


@pytest.mark.parametrize(
    "line",
    ["engine --json run -- true", "engine run --json -- true", "bench deploys --runs 1 --json"],
)
def test_json_is_for_acso_wherever_it_stands(line: str) -> None:
    options = program._parse(line.split())
    assert options.json is True
    assert "--json" not in [*vars(options).get("argv", []), *vars(options).get("arguments", [])]
    assert program._parse(["engine", "run", "--", "x", "--json"]).json is False
    assert program._parse(["engine", "run", "x", "--json"]).argv == ["x", "--json"]


def test_streaming_replaces_a_function_only_if_its_flags_ask_for_it(
    parser: argparse.ArgumentParser,
) -> None:
    def handler(*argv: str) -> object:
        return _handler(parser.parse_args([*argv, "--env", "staging"]))

    assert handler("status") is None
    assert handler("status", "--watch") is not None
    assert handler("plan") is None
    for follow in ((), ("--follow",), ("--agent", "a", "--agent", "b", "--since", "1h")):
        assert handler("logs", *follow) is not None


async def test_the_output_file_is_the_json_document_whatever_is_printed(
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


async def test_an_output_file_that_cannot_be_written_is_a_host_error(
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
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert program.main(["--aws-secret-access-key", "wJalrXUtnFEMI", "check"]) == 2
    assert "wJalrXUtnFEMI" not in capsys.readouterr().err


def test_the_description_is_cached_by_the_content_of_its_sources(
    tmp_path: Path, module: Description
) -> None:
    main = ROOT / "ci" / "main.py"
    assert describe(main, tmp_path) == module
    (kept,) = tmp_path.iterdir()
    stored = json.loads(kept.read_text())
    stored["doc"] = "from the cache"
    kept.write_text(json.dumps(stored))
    assert describe(main, tmp_path).doc == "from the cache"


def test_a_broken_cache_is_replaced(tmp_path: Path, module: Description) -> None:
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
def test_only_development_uses_the_embedded_aws_by_default(
    name: str, chosen: str, *, local: bool
) -> None:
    assert uses_local_aws(load(ROOT / "tests" / "acso.toml"), name, chosen) is local


def test_development_with_an_account_uses_the_real_aws(tmp_path: Path) -> None:
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
        {"suite": "smok"},
    ],
)
def test_a_mistyped_name_is_reported_before_anything_starts(given: dict[str, object]) -> None:
    config = load(ROOT / "tests" / "acso.toml")
    check_names(config, {"env": "staging", "agent": "supervisor"})
    with pytest.raises(UsageError, match="did you mean"):
        check_names(config, given)


@pytest.mark.parametrize(
    ("hint", "shown"),
    [
        ("./acso status --env staging", "./acso status --env staging --aws local"),
        (
            "./acso deploy --env a-b resumes it; ./acso rollback --env a-b undoes it",
            "./acso deploy --env a-b --aws local resumes it; "
            "./acso rollback --env a-b --aws local undoes it",
        ),
        (
            "./acso promote --from staging --env production",
            "./acso promote --from staging --env production --aws local",
        ),
        ("acso run-task --env a --agent X", "acso run-task --env a --aws local --agent X"),
        ("./acso up --env-file x", "./acso up --env-file x"),
        ("./acso status --env a-b --aws local", "./acso status --env a-b --aws local"),
    ],
)
def test_the_next_command_is_for_the_same_aws(
    hint: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(*_: object) -> str:
        raise errors.LockedError("it is locked", hint=hint)

    async def succeed(*_: object) -> str:
        return RenderedResult(f"done\nnext: {hint}", document="{}")

    monkeypatch.setattr(program, "call", fail)
    assert program.main(["status", "--env", "staging", "--aws", "local"]) == 23
    assert capsys.readouterr().err.splitlines()[-1] == f"  next: {shown}"
    assert program.main(["status", "--env", "staging"]) == 23
    assert capsys.readouterr().err.splitlines()[-1] == f"  next: {hint}"
    monkeypatch.setattr(program, "call", succeed)
    assert program.main(["status", "--env", "staging", "--aws", "local"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"next: {shown}"
