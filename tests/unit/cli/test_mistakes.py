"""A mistyped or misplaced word is named, with the nearest known one, before anything starts."""

import json
import shlex

import pytest

from ci.cli import program
from ci.cli.help import EXAMPLES
from ci.cli.mistakes import commands_of, options_of
from ci.cli.program import make_parser
from ci.cli.signatures import from_module
from ci.config import similar

PARSER = make_parser(from_module())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        # an option
        ("deploy --enviroment x", "unknown option '--enviroment' (did you mean '--env'?)"),
        ("deploy --environment=x", "unknown option '--environment' (did you mean '--env'?)"),
        ("deploy --en x", "unknown option '--en' (did you mean '--env'?)"),
        ("deploy -env x", "unknown option '-env' (did you mean '--env'?)"),
        ("deploy \N{EN DASH}env x", "unknown option '\N{EN DASH}env' (did you mean '--env'?)"),
        ("deploy -e x", "unknown option '-e' (did you mean '--env'?)"),
        ("deploy --env x -v", "unknown option '-v' (did you mean '--verbose'?)"),
        ("deploy --ENV x", "unknown option '--ENV' (did you mean '--env'?)"),
        ("deploy --env x --dry_run", "unknown option '--dry_run' (did you mean '--dry-run'?)"),
        ("deploy --env --wiat 5", "unknown option '--wiat' (did you mean '--wait'?)"),
        ("history --env x --limt 5", "unknown option '--limt' (did you mean '--limit'?)"),
        ("logs --help --folow", "unknown option '--folow' (did you mean '--follow'?)"),
        ("bench --jsn engine", "unknown option '--jsn' (did you mean '--json'?)"),
        ("doctor --fix", "unknown option '--fix' (known: -h, --help, --json)"),
        # of another command, or on the wrong side of the command
        ("status --env x --wait 5", "option of deploy, promote, rollback)"),
        ("--env x deploy", "'--env' (it follows the command: ./acso COMMAND --env)"),
        ("--enviroment x deploy", "did you mean '--env'? It follows the command"),
        ("--json status --env x", "'--json' (it follows the command"),
        ("deploy --env x --endpoint http://x", "(it precedes the command: ./acso --endpoint ... "),
        ("deploy --env x --endpont http://x", "did you mean '--endpoint'? It precedes"),
        # of another program
        ("run-task --env x --agent y ls -l", "unknown option '-l' (options of another program"),
        ("selftest tests/unit -x", "unknown option '-x' (options of another program follow --)"),
        # an argument
        ("deploy development", "unknown argument 'development' (did you mean '--env development'?"),
        ("promote staging --env x", "(did you mean '--from staging'?)"),
        ("history --env staging 5", "unknown argument '5'"),
        ("deploy --env x --dirty=yes", "argument --dirty/--no-dirty: ignored explicit argument"),
        # a command
        ("deploi", "unknown command 'deploi' (did you mean 'deploy'?)"),
        ("Deploy --env x", "unknown command 'Deploy' (did you mean 'deploy'?)"),
        ("help", "unknown command 'help' (did you mean '--help'?)"),
        ("''", "unknown command '' (known: "),
        # a value
        ("deploy --env x --aws loca", "invalid choice: 'loca' (did you mean 'local'?)"),
        ("deploy --env x --on-cancel roll", "invalid choice: 'roll' (did you mean 'rollback'?)"),
        ("completion bsh", "invalid choice: 'bsh' (did you mean 'bash'?)"),
        ("bench engin", "invalid choice: 'engin' (did you mean 'engine'?)"),
        ("engine rum -- ls", "invalid choice: 'rum' (did you mean 'run'?)"),
        # no value
        ("deploy --env=", "argument --env: its value is empty"),
        ("rollback --env x --to ''", "argument --to: its value is empty"),
        ("history --env x --release=", "argument --release: its value is empty"),
        ("plan --env x --output ''", "argument --output: its value is empty"),
        ("--source '' plan --env x", "argument --source: its value is empty"),
        ("deploy --env", "argument --env: expected one argument"),
        ("deploy --env --dirty", "argument --env: expected one argument"),
    ],
)
@pytest.mark.parametrize("json_too", [False, True])
def test_it_is_named(
    line: str, message: str, capsys: pytest.CaptureFixture[str], *, json_too: bool
) -> None:
    words = shlex.split(line)
    words.insert(words.index("--") if "--" in words else len(words), "--json")
    assert program.main(words if json_too else shlex.split(line)) == 2
    out, err = capsys.readouterr()
    first, second = err.splitlines()
    assert message in first
    assert second.startswith("  next: ./acso ")
    if json_too:
        assert message in json.loads(out)["error"]["message"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_option_of_each_command_is_recognised_by_a_part_or_with_a_letter_less(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in options_of(commands_of(PARSER)[name]):
        if len(option) < len("--xxxx"):  # what is left could be anything
            continue
        wrong = option[:3] + option[4:]
        assert program.main([name, wrong, "x"]) == 2
        assert f"'{wrong}' (did you mean '" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        "deploy --env x --commit '' --branch= --actor ''",  # the same as their default
        "deploy --env=x",
        "logs --env x --grep '-- x'",
        "run-task --env x --agent y -- ls -l --env=",
        "engine run ls --nosuch",
        "bench deploys --runs 1",
        "selftest -- -x --nosuch",
    ],
)
def test_what_is_right_is_accepted(line: str) -> None:
    found = PARSER.parse_args(shlex.split(line))
    assert found.command == line.partition(" ")[0]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("dev", "development"),
        ("prod", "production"),
        ("STAGING", "staging"),
        ("prodution", "production"),
        ("st", None),
        ("nosuch", None),
    ],
)
def test_a_name_is_similar_by_its_beginning_or_its_letters(typed: str, found: str | None) -> None:
    assert similar(typed, ["development", "staging", "production"]) == found
