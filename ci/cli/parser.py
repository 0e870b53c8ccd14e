"""The parser of the command line, made from the functions' signatures and docs."""

import argparse
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from ci.cli import arguments, completion, machine, streaming
from ci.cli.arguments import OnceBoolean, Parser
from ci.cli.help import EPILOG, GROUPS, example_of, group_of
from ci.cli.signatures import Description, Function, Parameter

Run = Callable[[argparse.Namespace], Awaitable[str | int]]
Call = Callable[[Function, argparse.Namespace], Awaitable[str | int]]
Groups = Callable[[str], Any]
CONSTRUCTOR = "constructor_"


def build_parser(module: Description, call: Call) -> Parser:
    """Return the parser of all commands.

    Args:
        module: its functions are commands, beside those for this machine.
        call: runs one of the functions.
    """
    parser = Parser(prog="acso", description=module.doc, epilog=EPILOG)
    parser._positionals.title = "commands"  # a group of its own would come after the options
    groups = _groups(parser)
    for parameter in module.parameters:
        _add(groups, parameter, prefix=CONSTRUCTOR)
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    for function in module.functions:
        _add_function(commands, function, call)
    for extension in streaming.EXTENSIONS.values():
        if extension.function is not None:
            _add_function(commands, extension.function, call)
    for command in machine.HOST_COMMANDS:
        command.add(_command(commands, command.name, command.doc, command.run))
    return parser


def _command(commands: Any, name: str, doc: str, run: Run) -> Parser:
    parser: Parser = commands.add_parser(
        name,
        help=doc.partition("\n")[0].replace("%", "%%"),
        description=doc,
        epilog=example_of(name),
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document instead of text"
    )
    parser.set_defaults(run=run)
    return parser


def _add_function(commands: Any, function: Function, call: Call) -> None:
    parser = _command(commands, function.command, function.doc, partial(call, function))
    groups = _groups(parser)
    # What is required comes first, what has a group of its own last.
    for parameter in sorted(function.parameters, key=_position):
        if parameter.name != "format":  # `--json` stands for it
            _add(groups, parameter)
    if extension := streaming.EXTENSIONS.get(function.name):
        extension.arguments(parser)
        parser.set_defaults(handler=extension.handler)
    if function.takes("format"):
        parser.add_argument(
            "--output",
            type=arguments.writable,
            metavar="PATH",
            help="also write the result as a JSON document to this file",
        )
    _add_places(groups("where it runs"), function)


def _position(parameter: Parameter) -> tuple[bool, int]:
    return not parameter.required, ["", *GROUPS].index(group_of(parameter.name))


def _add_places(group: Any, function: Function) -> None:
    group.add_argument(
        "--engine",
        choices=("auto", "dagger", "local"),
        default="auto",
        help="a Dagger engine or the local one; auto: a Dagger engine if `dagger` is on PATH, "
        "else the local one",
    )
    if function.takes("env"):
        group.add_argument(
            "--aws",
            choices=("auto", "local", "real"),
            default="auto",
            help="the embedded AWS (local) or the real one; auto: embedded for development unless "
            "acso.toml gives it an account, real for other environments",
        )
    group.add_argument("--verbose", action="store_true", help="also show the engine's log")


def _groups(parser: Parser) -> Groups:
    """Return a function from a group's title to the group, made when it is first used."""
    made: dict[str, Any] = {"": parser}

    def group(title: str) -> Any:
        if title not in made:
            made[title] = parser.add_argument_group(title)
        return made[title]

    return group


def _add(groups: Groups, parameter: Parameter, prefix: str = "") -> None:
    if parameter.name == "args":  # a command, whose flags are its own
        groups("").add_argument("args", nargs="+", metavar="-- COMMAND", help=parameter.doc)
        return
    # A flag is off unless given; saying so would repeat what its two names say.
    shown = parameter.kind != "flag" and parameter.default not in (None, "")
    default = f" (default: {parameter.default})" if shown else ""
    action = groups(group_of(parameter.name)).add_argument(
        parameter.flag,
        dest=prefix + parameter.name,
        default=argparse.SUPPRESS,
        required=parameter.required,
        help=(parameter.doc + default).replace("%", "%%"),
        **_reading(parameter),
    )
    completion.add(action, parameter.name)


def _reading(parameter: Parameter) -> dict[str, Any]:
    """Return how argparse reads a parameter's value."""
    kinds: dict[str, dict[str, Any]] = {
        "flag": {"action": OnceBoolean},
        "number": {"type": arguments.number(parameter.name), "metavar": "N"},
        "choice": {"choices": parameter.choices},
        "texts": {"action": "append", "metavar": parameter.metavar},
        "secret": {"type": arguments.secret, "metavar": "env://NAME|file://PATH|cmd://COMMAND"},
        "directory": {"type": arguments.directory, "metavar": "PATH"},
        "file": {"type": arguments.file, "metavar": "PATH"},
        "text": {"metavar": parameter.metavar},
    }
    read = arguments.CHECKED.get(parameter.name)
    return kinds[parameter.kind] | ({"type": read} if read else {})
