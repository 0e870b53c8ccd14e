"""The help of each command: grouped options, required ones first, rarely used ones last."""

import argparse
import re

import pytest

from ci.cli.arguments import Parser
from ci.cli.help import EXAMPLES, GROUPS
from ci.cli.program import make_parser
from ci.cli.signatures import from_module


@pytest.fixture(scope="module")
def parser() -> Parser:
    return make_parser(from_module())


def commands(parser: Parser) -> dict[str, Parser]:
    (action,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def test_each_command_has_an_example(parser: Parser) -> None:
    assert set(EXAMPLES) == set(commands(parser))


def test_options_that_belong_together_are_in_a_group(parser: Parser) -> None:
    text = commands(parser)["deploy"].format_help()
    titles = ["options:", "other releases and Ctrl-C:", "for the release record:", "where it runs:"]
    places = [text.index(title) for title in titles]
    assert places == sorted(places)
    assert places[1] < text.rindex("--wait") < places[2] < text.rindex("--commit") < places[3]
    assert text.index("--env ENV") < text.rindex("--dry-run") < places[1]


def test_every_parameter_of_a_group_exists() -> None:
    module = from_module()
    names = {parameter.name for function in module.functions for parameter in function.parameters}
    names |= {parameter.name for parameter in module.parameters}
    assert {name for group in GROUPS.values() for name in group} <= names


@pytest.mark.parametrize("columns", [60, 100])
def test_a_line_of_help_fits_a_terminal(
    parser: Parser, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for name, command in {"acso": parser, **commands(parser)}.items():
        # A command to copy, and the form of an option, are not broken.
        lines = [
            line
            for line in command.format_help().splitlines()
            if not re.match(r" +(acso |\[--|--[a-z-]+ env://)", line)
        ]
        assert max(map(len, lines)) <= columns, (name, max(lines, key=len))
