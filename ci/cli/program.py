# PYTHON_ARGCOMPLETE_OK
"""The `acso` program: the functions of `Acso` as commands, and commands for this machine.

Commands and flags are made from the functions' signatures and docs. Progress goes to standard
error, results to standard output; every kind of failure has its own exit code (`ci.errors`).
"""

import argparse
import itertools
import json
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio

from ci.cli import completion, signals, streaming
from ci.cli.arguments import NotRunError, Parser
from ci.cli.parser import CONSTRUCTOR, build_parser
from ci.cli.session import ROOT, AwsChoice, Engine, RunOptions, call
from ci.cli.signatures import Description, Function, describe
from ci.errors import AcsoError, HostError, UsageError
from ci.local import paths
from ci.report import streams
from ci.report.output import Report, Streaming
from ci.report.result import RenderedResult

#: The beginning of a command, up to its environment.
ON_ENVIRONMENT = re.compile(r"acso [a-z-]+(?: --[a-z-]+ \S+)*? --env [\w-]++(?! --aws)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = sys.argv[1:] if argv is None else [*argv]
    closed = streams.prepare()
    signals.handle()
    try:
        options = _parse(arguments)
    except NotRunError as error:
        command = error.command if isinstance(error.end, AcsoError) else "help"
        report = Report(command=command, json=_asks_for_json(arguments))
        return report.run(partial(_end, error.end, closed=closed))
    report = Report(
        command=options.command,
        json=options.json,
        streaming=_streaming(options),
        defects=_defects(),
    )
    return report.run(partial(_run, options, closed=closed))


def make_parser(module: Description) -> Parser:
    """Return the parser of all commands: the module's functions and those for this machine."""
    return build_parser(module, _call)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    try:
        parser = make_parser(describe(ROOT / "ci" / "main.py", paths.cache_dir()))
    except OSError as error:
        raise NotRunError("", HostError(str(error), hint="acso doctor")) from None
    completion.complete(parser)
    found: argparse.Namespace = parser.parse_args(arguments)
    _take_json(found)
    return found


def _take_json(options: argparse.Namespace) -> None:
    """Take --json from the words that are passed on to a program, where it is for `acso`."""
    command, benchmark = vars(options).get("argv"), vars(options).get("arguments")
    words = command[:1] if command else benchmark or []
    if "--json" in itertools.takewhile(lambda word: word != "--", words):
        (command or benchmark or []).remove("--json")
        options.json = True


def _asks_for_json(arguments: Sequence[str]) -> bool:
    """Return whether a line that could not be parsed has --json for `acso` itself."""
    return "--json" in itertools.takewhile(lambda word: word != "--", arguments)


def _end(end: str | AcsoError, *, closed: bool) -> str:
    if isinstance(end, AcsoError):
        raise end
    _require_output(closed=closed)
    return end


def _require_output(*, closed: bool) -> None:
    if closed:
        message = "standard output is closed"
        raise HostError(message, hint="to discard the output: > /dev/null")


def _run(options: argparse.Namespace, *, closed: bool) -> str | int:
    _require_output(closed=closed)
    if _endless(options) and getattr(options, "output", None):
        message = "--output needs a result, and --follow and --watch have no end"
        raise UsageError(message, hint=f"./acso {options.command} --help")
    ended: str | int = anyio.run(options.run, options)
    return ended


def _streaming(options: argparse.Namespace) -> Streaming:
    """Return whether a command prints while it runs: text, or JSON lines until Ctrl-C."""
    if options.json and _endless(options):
        return "lines"
    return "text" if _handler(options) is not None else "no"


def _endless(options: argparse.Namespace) -> bool:
    return any(getattr(options, name, False) for name in ("follow", "watch"))


def _defects() -> Path | None:
    try:
        return paths.state_dir() / "defect.txt"
    except UsageError:  # the command itself reports it
        return None


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
    output: Path | None = getattr(options, "output", None)
    try:
        result = await call(function, arguments, constructor, run, handler)
    except AcsoError as error:
        if error.details is not None and output:
            _write(output, json.dumps(error.details, indent=2))
        error.hint = _there(error.hint, run.aws)
        raise
    if isinstance(result, streaming.ReplacementProgram):
        return _replaced(result)
    if isinstance(result, RenderedResult):
        if output:
            _write(output, result.document)
        return _for_same_aws(result, run.aws)
    return result


def _for_same_aws(result: RenderedResult, aws: AwsChoice) -> RenderedResult:
    if aws == "auto":
        return result
    text = _there(result, aws)
    return RenderedResult(text, document=result.document, exit_code=result.exit_code)


def _there(text: str, aws: AwsChoice) -> str:
    """Return a text whose commands are for the same AWS as this one."""
    return text if aws == "auto" else ON_ENVIRONMENT.sub(rf"\g<0> --aws {aws}", text)


def _replaced(program: streaming.ReplacementProgram) -> int:
    """Replace this process; raises `HostError` if the program cannot be started."""
    try:
        program.execute()
    except OSError as error:
        message = f"cannot run {program.argv[0]}: {error.strerror}"
        raise HostError(message, hint="acso doctor") from None
    return 0


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
        hint = "the command itself has ended; only this file is missing"
        raise HostError(message, hint=hint) from None


if __name__ == "__main__":
    sys.exit(main())
