# PYTHON_ARGCOMPLETE_OK
"""The `acso` program: the functions of `Acso` as commands, and commands for this machine.

Commands and flags are made from the functions' signatures and docs. Progress goes to standard
error, results to standard output; every kind of failure has its own exit code (`ci.errors`).
"""

import argparse
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from ci.cli import machine, streaming
from ci.cli.session import ROOT, SECRETS, Engine, RunOptions, call
from ci.cli.signatures import Description, Function, Parameter, describe
from ci.errors import HostError
from ci.local import paths
from ci.report.output import Report
from ci.report.result import RenderedResult

EPILOG = """\
first steps:
  acso doctor                      check what this machine has and what is missing
  acso deploy --env development    check, build, deploy and validate; starts all it needs
  acso selftest                    run all tests of this repository

exit codes of all commands:
    0  success; plan and deploy --dry-run: nothing would change
    1  tests or a benchmark failed, or a defect: please report it
    2  wrong usage; plan and deploy --dry-run: something would change
    3  acso.toml is invalid
    4  this machine lacks something: acso doctor
    5  the engine cannot be used
    6  no container engine answers and none can be started
   10  a quality gate or a build failed
   20  AWS refused a request or cannot be reached
   21  the account or region is not the one of the environment in acso.toml
   22  a CloudFormation stack failed
   23  the environment is locked by another release
   25  the saved plan is outdated
   26  the environment lacks something that a release needs: acso verify
   27  the release cannot be promoted
   30  validation failed
   31  a one-off task did not run; otherwise run-task ends with the exit code of the task
   32  a command in a running task could not be started
  130  interrupted: Ctrl-C

exit codes of a release that did not succeed:
   40  it failed and was rolled back
   41  it failed and so did the rollback: a person has to act
   42  there is no earlier validated release to roll back to
   43  ECS rolled a service back (circuit breaker, alarm), so the release was rolled back
   44  somebody else changed a service during the release
   45  it timed out and was rolled back
   46  nothing to change, but what runs is unhealthy
   47  it was interrupted and rolled back
   48  the rollback target is gone: a task definition of it is deregistered
"""
Run = Callable[[argparse.Namespace], Awaitable[str | int]]
CONSTRUCTOR = "constructor_"
#: Usage of arguments that are passed on to a program; argparse would repeat "-- COMMAND".
PASSED_ON = {
    "args": "-- COMMAND [ARGUMENT ...]",
    "argv": "-- COMMAND [ARGUMENT ...]",
    "arguments": "[ARGUMENT ...]",
}


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps line breaks of descriptions, and shows the usage of commands that are passed on."""

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        return PASSED_ON.get(action.dest) or super()._format_args(action, default_metavar)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = make_parser(describe(ROOT / "ci" / "main.py", paths.cache_dir()))
    _complete(parser)
    options = parser.parse_args(argv)
    # SIGTERM ends a command as Ctrl-C does: it is cancelled, cleans up and exits with 130.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    report = Report(
        command=options.command, json=options.json, streams=_handler(options) is not None
    )
    return report.run(partial(anyio.run, options.run, options))


def make_parser(module: Description) -> argparse.ArgumentParser:
    """Return the parser of all commands: the module's functions and those for this machine."""
    parser = argparse.ArgumentParser(
        prog="acso",
        description=module.doc,
        epilog=EPILOG,
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    for parameter in module.parameters:
        _add(parser, parameter, prefix=CONSTRUCTOR)
    parser._positionals.title = "commands"  # a group of its own would come after the options
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    for function in module.functions:
        _add_function(commands, function)
    for extension in streaming.EXTENSIONS.values():
        if extension.function is not None:
            _add_function(commands, extension.function)
    for command in machine.HOST_COMMANDS:
        command.add(_command(commands, command.name, command.doc, command.run))
    return parser


def _add_function(commands: Any, function: Function) -> None:
    parser = _command(commands, function.command, function.doc, partial(_call, function))
    for parameter in function.parameters:
        if parameter.name != "format":  # `--json` stands for it
            _add(parser, parameter)
    if extension := streaming.EXTENSIONS.get(function.name):
        extension.arguments(parser)
        parser.set_defaults(handler=extension.handler)
    if function.takes("format"):
        parser.add_argument(
            "--output",
            type=_writable,
            metavar="PATH",
            help="also write the result as a JSON document to this file",
        )
    group = parser.add_argument_group("where it runs")
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


def _command(commands: Any, name: str, doc: str, run: Run) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=doc.partition("\n")[0].replace("%", "%%"),
        description=doc,
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document instead of text"
    )
    parser.set_defaults(run=run)
    return parser


def _add(
    parser: argparse.ArgumentParser,
    parameter: Parameter,
    prefix: str = "",
) -> None:
    # A flag is off unless given; saying so would repeat what its two names say.
    shown = parameter.kind != "flag" and parameter.default not in (None, "")
    default = f" (default: {parameter.default})" if shown else ""
    arguments: dict[str, Any] = {
        "dest": prefix + parameter.name,
        "default": argparse.SUPPRESS,
        "required": parameter.required,
        "help": (parameter.doc + default).replace("%", "%%"),
    }
    match parameter.kind:
        case "flag":
            arguments["action"] = argparse.BooleanOptionalAction
        case "number":
            arguments |= {"type": int, "metavar": "N"}
        case "choice":
            arguments["choices"] = parameter.choices
        case "texts" if parameter.name == "args":  # a command, whose flags are its own
            parser.add_argument("args", nargs="+", metavar="-- COMMAND", help=parameter.doc)
            return
        case "texts":
            arguments |= {"action": "append", "metavar": parameter.metavar}
        case "secret":
            arguments |= {"type": _secret, "metavar": "env://NAME|file://PATH|cmd://COMMAND"}
        case "directory" | "file":
            arguments["metavar"] = "PATH"
        case "text":
            arguments["metavar"] = parameter.metavar
    parser.add_argument(parameter.flag, **arguments)


def _secret(value: str) -> str:
    """Return a secret's reference; refuse a plain value, which other users could see in `ps`."""
    if not value.startswith(SECRETS):
        message = "a secret is given by reference: env://NAME, file://PATH or cmd://COMMAND"
        raise argparse.ArgumentTypeError(message)
    kind, _, name = value.partition("://")
    if kind == "env" and name not in os.environ:
        message = f"{value}: the environment has no variable {name}"
        raise argparse.ArgumentTypeError(message)
    if kind == "file" and not Path(name).is_file():
        message = f"{value}: there is no such file"
        raise argparse.ArgumentTypeError(message)
    return value


def _writable(value: str) -> Path:
    """Return the path of a file to write; refuse it now, not after minutes of work."""
    path = Path(value)
    try:
        if path.is_dir() or not path.absolute().parent.is_dir():
            reason = "it is a directory" if path.is_dir() else "its directory does not exist"
            message = f"cannot write {value}: {reason}"
            raise argparse.ArgumentTypeError(message)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot write {value}: {error.strerror}") from error
    return path


async def _call(function: Function, options: argparse.Namespace) -> str | int:
    given = vars(options)
    arguments = {item.name: given[item.name] for item in function.parameters if item.name in given}
    if options.json and function.takes("format"):
        arguments["format"] = "json"
    constructor = {
        name.removeprefix(CONSTRUCTOR): value
        for name, value in given.items()
        if name.startswith(CONSTRUCTOR)
    }
    handler = _handler(options)
    # A handler runs nothing in the engine and may need the terminal: the local engine is enough.
    engine: Engine = "local" if handler and options.engine == "auto" else options.engine
    run = RunOptions(engine=engine, aws=given.get("aws", "auto"), verbose=options.verbose)
    result = await call(function, arguments, constructor, run, handler)
    if isinstance(result, streaming.ReplacementProgram):
        result.execute()
    if isinstance(result, RenderedResult) and options.output:
        _write(options.output, result.document)
    return result if isinstance(result, str | int) else 1


def _handler(options: argparse.Namespace) -> streaming.Handler | None:
    """Return what runs in place of the function, None to call the function itself."""
    make = getattr(options, "handler", None)
    handler: streaming.Handler | None = make(options) if make else None
    return handler


def _write(path: Path, document: str) -> None:
    try:
        path.write_text(document + "\n", encoding="utf-8")
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        hint = "the command itself succeeded; only this file is missing"
        raise HostError(message, hint=hint) from None


def _complete(parser: argparse.ArgumentParser) -> None:
    """Print completions if the shell asks for them (set up by `acso completion`)."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete  # late: only a shell asks

        argcomplete.autocomplete(parser)


if __name__ == "__main__":
    sys.exit(main())
