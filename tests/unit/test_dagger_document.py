"""docs/dagger.md: the commands that it lists are those that there are."""

import re
from pathlib import Path

import pytest

from ci.cli.machine import HOST_COMMANDS
from ci.cli.program import make_parser
from ci.cli.signatures import Description, from_module
from ci.cli.streaming import EXTENSIONS
from ci.errors import AcsoError
from ci.release.records.lock import LEASE_SECONDS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "dagger.md").read_text()


def listed(head: str) -> list[str]:
    """Return the names in the paragraph that begins so."""
    (paragraph,) = (part for part in TEXT.split("\n\n") if part.startswith(head))
    return re.findall(r"`([a-z-]+)`", paragraph.removeprefix(head))


@pytest.fixture(scope="module")
def module() -> Description:
    return from_module()


def test_the_commands_of_both_are_the_module_s_functions(module: Description) -> None:
    assert listed("Commands of both:") == sorted(item.command for item in module.functions)


def test_the_others_are_those_that_acso_adds(module: Description) -> None:
    functions = {item.command for item in module.functions}
    added = {item.function.command for item in EXTENSIONS.values() if item.function}
    only = {verb.name for verb in HOST_COMMANDS} | added
    assert listed("Commands of `./acso` only:") == sorted(only)
    assert not only & functions
    parser = make_parser(module)
    for command in functions | only:
        assert f"    {command}" in parser.format_help()


def test_the_checks_are_those_that_dagger_check_runs() -> None:
    from ci.main import Acso

    functions = Acso.__dagger_module__.get_object("Acso").functions  # type: ignore[attr-defined]
    checks = [name for name, function in functions.items() if function.check]
    assert listed("Checks of `dagger check`:") == sorted(checks)


def test_every_flag_that_the_table_names_is_there(module: Description) -> None:
    row = dict(re.findall(r"^\| ([^|]+) \| (.*) \|$", TEXT, re.MULTILINE))
    ours = {name: cells.split(" | ")[0] for name, cells in row.items()}
    theirs = {name: cells.split(" | ")[1] for name, cells in row.items() if " | " in cells}
    parameters = {item.flag for item in module.parameters} | {
        item.flag for function in module.functions for item in function.parameters
    }
    named = {flag for cell in theirs.values() for flag in re.findall(r"--[a-z-]+", cell)}
    assert {"--commit", "--dirty", "--endpoint", "--format"} <= named <= parameters
    arguments = [
        "--engine",
        "--aws",
        "--json",
        "--output",
        "--follow",
        "--watch",
        "--on-cancel",
        "--over",
    ]
    named = {flag for cell in ours.values() for flag in re.findall(r"--[a-z-]+", cell)}
    assert named - {"--help"} == set(arguments)
    values = {"--engine": "local", "--aws": "local", "--output": "/dev/null", "--on-cancel": "keep"}
    parser = make_parser(module)
    for flag in arguments:
        command = {"--follow": "logs", "--watch": "status"}.get(flag, "deploy")
        given = [flag, values[flag]] if flag in values else [flag]
        assert parser.parse_args([command, "--env", "x", *given]).command == command


def test_what_it_says_of_exit_codes_and_the_lease_holds() -> None:
    assert "1 for every failure" in TEXT
    assert len({kind.exit_code for kind in AcsoError.__subclasses__()}) > 10
    assert f"expires within {LEASE_SECONDS:.0f} seconds" in TEXT
