# PYTHON_ARGCOMPLETE_OK
"""`acso`: the functions of `Acso` as commands, and what concerns this machine.

Commands and flags are made from the functions' signatures and docs. Progress goes to standard
error, results to standard output; every kind of failure has its own exit code (`ci.errors`).
"""

import argparse
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from ci.cli import machine, streaming
from ci.cli.session import ROOT, SECRETS, Choice, Engine, call
from ci.cli.signatures import Description, Function, Parameter, describe
from ci.errors import HostError
from ci.local import paths
from ci.report.output import Report
from ci.report.result import RenderedResult

EPILOG = """\
first steps:
  acso doctor                      look at what this machine has
  acso deploy --env development    check, build, deploy and validate: nothing is needed before
  acso selftest                    every test of this repository

exit codes: 0 done, 1 failure, 2 usage, 3 acso.toml, 4 this machine, 5 the engine,
  10 a quality gate or build, 20 AWS, 21 another account or region, 22 infrastructure,
  23 the environment is locked, 25 the saved plan is outdated, 26 verify,
  27 a release that cannot be promoted, 30 validation, 31 a one-off task that never ran, 32 exec
exit codes of a release that is no success:
  40 rolled back, 41 rollback failed, 42 nothing to roll back to, 43 rolled back by ECS,
  44 replaced by another deployment, 45 timed out, 46 nothing to change but unhealthy,
  47 interrupted and rolled back, 48 rollback target gone, 130 interrupted
of `plan` and `deploy --dry-run`: 0 nothing would change, 2 something would
"""
Run = Callable[[argparse.Namespace], Awaitable[str | int]]
CONSTRUCTOR = "constructor_"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = make_parser(describe(ROOT / "ci" / "main.py", paths.cache_dir()))
    _complete(parser)
    options = parser.parse_args(argv)
    # A supervisor's TERM ends a command as Ctrl-C does: cancelled, cleaned up, exit code 130.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    report = Report(command=options.command, json=options.json, streams=_use(options) is not None)
    return report.of(partial(anyio.run, options.run, options))


def make_parser(module: Description) -> argparse.ArgumentParser:
    """Make the parser of the module's functions and the verbs of this machine."""
    parser = argparse.ArgumentParser(
        prog="acso",
        description=module.doc,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for parameter in module.parameters:
        _add(parser, parameter, prefix=CONSTRUCTOR)
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    for function in module.functions:
        _add_function(commands, function)
    for addition in streaming.ADDITIONS.values():
        if addition.function is not None:
            _add_function(commands, addition.function)
    for verb in machine.VERBS:
        verb.add(_command(commands, verb.name, verb.doc, verb.run))
    return parser


def _add_function(commands: Any, function: Function) -> None:
    parser = _command(commands, function.command, function.doc, partial(_call, function))
    for parameter in function.parameters:
        if parameter.name != "format":  # --json says it
            _add(parser, parameter)
    if addition := streaming.ADDITIONS.get(function.name):
        addition.arguments(parser)
        parser.set_defaults(use=addition.use)
    if function.takes("format"):
        parser.add_argument(
            "--output",
            type=_writable,
            metavar="PATH",
            help="write the result's JSON document to this file too",
        )
    group = parser.add_argument_group("where it runs")
    group.add_argument(
        "--engine",
        choices=("auto", "dagger", "local"),
        default="auto",
        help="a Dagger engine or the local one; auto: Dagger's where its program is on PATH",
    )
    if function.takes("env"):
        group.add_argument(
            "--aws",
            choices=("auto", "local", "real"),
            default="auto",
            help="the embedded AWS or the real one; auto: embedded for a development "
            "without an account in acso.toml, real for all else",
        )
    group.add_argument("--verbose", action="store_true", help="show the engine's steps too")


def _command(commands: Any, name: str, doc: str, run: Run) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=doc.partition("\n")[0].replace("%", "%%"),
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="write one JSON document instead")
    parser.set_defaults(run=run)
    return parser


def _add(
    parser: argparse.ArgumentParser,
    parameter: Parameter,
    prefix: str = "",
) -> None:
    default = "" if parameter.default in (None, "") else f" (default: {parameter.default})"
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
        case "texts" if parameter.name == "args":  # a command, which may have flags of its own
            parser.add_argument("args", nargs="+", metavar="-- COMMAND", help=parameter.doc)
            return
        case "texts":
            arguments |= {"action": "append", "metavar": "TEXT"}
        case "secret":
            arguments |= {"type": _secret, "metavar": "env://NAME|file://PATH|cmd://COMMAND"}
        case "directory" | "file":
            arguments["metavar"] = "PATH"
        case "text":
            arguments["metavar"] = parameter.flag.strip("-").upper()
    parser.add_argument(parameter.flag, **arguments)


def _secret(value: str) -> str:
    """Refuse what is no reference: a secret itself has no place on a command line."""
    if not value.startswith(SECRETS):
        message = "a secret is named by env://NAME, file://PATH or cmd://COMMAND"
        raise argparse.ArgumentTypeError(message)
    kind, _, name = value.partition("://")
    if kind == "env" and name not in machine.environ():
        message = f"{value}: the environment has no variable {name}"
        raise argparse.ArgumentTypeError(message)
    if kind == "file" and not Path(name).is_file():
        message = f"{value}: there is no such file"
        raise argparse.ArgumentTypeError(message)
    return value


def _writable(value: str) -> Path:
    """Refuse a file in no directory before anything starts, not after minutes of work."""
    path = Path(value)
    try:
        if path.is_dir() or not path.absolute().parent.is_dir():
            message = f"{value} is a directory" if path.is_dir() else f"no directory for {value}"
            raise argparse.ArgumentTypeError(message)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{value}: {error.strerror}") from error
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
    use = _use(options)
    # What only looks at AWS, and may need the terminal, gains nothing from another engine.
    engine: Engine = "local" if use and options.engine == "auto" else options.engine
    choice = Choice(engine=engine, aws=given.get("aws", "auto"), verbose=options.verbose)
    result = await call(function, arguments, constructor, choice, use)
    if isinstance(result, streaming.Handover):
        result.now()
    if isinstance(result, RenderedResult) and options.output:
        _write(options.output, result.document)
    return result if isinstance(result, str | int) else 1


def _use(options: argparse.Namespace) -> streaming.Use | None:
    """Return what the command line does in place of calling a function, None if it calls it."""
    use: streaming.Use | None = options.use(options) if hasattr(options, "use") else None
    return use


def _write(path: Path, document: str) -> None:
    try:
        path.write_text(document + "\n", encoding="utf-8")
    except OSError as error:
        message = f"{path}: {error.strerror}"
        raise HostError(
            message, hint="what was asked for is done; only its file is missing"
        ) from None


def _complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell when it asks for completions; `acso completion` sets that up."""
    if "_ARGCOMPLETE" in machine.environ():
        import argcomplete  # late: only a shell asks

        argcomplete.autocomplete(parser)


if __name__ == "__main__":
    sys.exit(main())
