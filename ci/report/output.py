"""A command's end: its result, or its error, for people and for machines; and its exit code."""

import json as jsons
import os
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack

from rich.console import Console

from ci.errors import AcsoError, EngineError
from ci.report import github
from ci.report.console import Timeline, listener
from ci.report.progress import Lines, listen
from ci.report.result import RenderedResult

INTERRUPTED = 130


class Report:
    """Shows the stages of one command, then its result or error."""

    def __init__(self, *, command: str, json: bool, streams: bool = False) -> None:
        self._command = command
        self._json = json
        self._streams = streams  # the command itself writes: nothing may be redrawn meanwhile
        self._began = time.monotonic()
        # NO_COLOR, and a pipe in place of a terminal, are honoured by rich itself.
        self._errors = Console(stderr=True, highlight=False)
        self._timeline = Timeline(shown_by=Lines(sys.stderr))

    def of(self, run: Callable[[], str | int]) -> int:
        """Run the command and return its exit code; results to stdout, all else to stderr."""
        try:
            with ExitStack() as stack:
                shown = Lines(sys.stderr) if self._streams else listener(self._errors)
                if not isinstance(shown, Lines):
                    stack.enter_context(shown)
                self._timeline = Timeline(shown_by=shown)
                stack.enter_context(listen(self._timeline))
                result = run()
        except BaseException as error:
            return self._failed(_first(error))
        if isinstance(result, int):
            return result
        return self._succeeded(result)

    def _succeeded(self, result: str) -> int:
        github.summarise(self._command, self._timeline.spans, 0, result)
        if self._json:
            self._document(result=_parsed(result))
        else:
            _write(result)
        return result.exit_code if isinstance(result, RenderedResult) else 0

    def _failed(self, error: BaseException) -> int:
        code, message, hint = _told(error)
        if self._json:
            kind = type(error).__name__
            said = {"kind": kind, "message": message, "hint": hint, "exit_code": code}
            self._document(error=said)
        github.summarise(self._command, self._timeline.spans, code, message)
        if github.active():
            sys.stderr.write(github.failure(self._command, message, hint) + "\n")
            return code
        self._errors.print(f"[bold red]error:[/] {_escaped(message)}", soft_wrap=True)
        if hint:
            self._errors.print(f"  next: {_escaped(hint)}", soft_wrap=True)
        return code

    def _document(self, **end: object) -> None:
        document = {
            "command": self._command,
            "seconds": round(time.monotonic() - self._began, 3),
            "stages": [span.data() for span in self._timeline.spans],
            **end,
        }
        _write(jsons.dumps(document, indent=2, ensure_ascii=False))


def _first(error: BaseException) -> BaseException:
    """Return the first error that a person can act on, out of the groups that tasks raise."""
    while isinstance(error, BaseExceptionGroup):
        inner = [_first(item) for item in error.exceptions]
        error = next((item for item in inner if isinstance(item, AcsoError)), inner[0])
    return error


def _told(error: BaseException) -> tuple[int, str, str]:
    """Return exit code, sentence and next step of an error."""
    if isinstance(error, AcsoError):
        return error.exit_code, str(error), error.hint
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted", "the same command takes up where this one stopped"
    if isinstance(error, SystemExit):
        return int(error.code or 0), "", ""
    if type(error).__module__.startswith("dagger"):
        return EngineError.exit_code, str(error), "acso doctor"
    # Not expected, so a defect: the traceback is what its report needs.
    sys.stderr.write("".join(traceback.format_exception(error)))
    return (
        1,
        f"{type(error).__name__}: {error}",
        "this is a defect: please report it with the above",
    )


def _parsed(result: str) -> object:
    try:
        return jsons.loads(result)
    except ValueError:
        return result


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


def _write(text: str) -> None:
    """Write to standard output; a reader that has gone (`| head`) is no error."""
    try:
        sys.stdout.write(text.rstrip("\n") + "\n" if text else "")
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at exit, into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
