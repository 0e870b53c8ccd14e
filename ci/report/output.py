"""Run a command; show its stages, its result or error as text or JSON; return its exit code."""

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
from ci.report.console import Timeline, make_listener
from ci.report.progress import Lines, listen
from ci.report.result import RenderedResult

INTERRUPTED = 130


class Report:
    """Shows the stages of one command as they happen, then its result or error."""

    def __init__(self, *, command: str, json: bool, streams: bool = False) -> None:
        self._command = command
        self._json = json
        self._streams = streams  # the command prints while it runs, so nothing may be redrawn
        self._began = time.monotonic()
        # rich itself respects NO_COLOR and prints no colours to a pipe.
        self._errors = Console(stderr=True, highlight=False)
        self._timeline = Timeline(Lines(sys.stderr))

    def run(self, command: Callable[[], str | int]) -> int:
        """Run the command and return its exit code; print results to stdout, the rest to stderr."""
        try:
            with ExitStack() as stack:
                shown = Lines(sys.stderr) if self._streams else make_listener(self._errors)
                if not isinstance(shown, Lines):
                    stack.enter_context(shown)
                self._timeline = Timeline(shown)
                stack.enter_context(listen(self._timeline))
                result = command()
        except BaseException as error:
            return self._failed(_root_error(error))
        if isinstance(result, int):
            return result
        return self._succeeded(result)

    def _succeeded(self, result: str) -> int:
        github.write_summary(self._command, self._timeline.spans, 0, result)
        if self._json:
            self._document(result=_parsed(result))
        else:
            _write(result)
        return result.exit_code if isinstance(result, RenderedResult) else 0

    def _failed(self, error: BaseException) -> int:
        code, message, hint = _describe(error)
        if self._json:
            kind = type(error).__name__
            details = {"kind": kind, "message": message, "hint": hint, "exit_code": code}
            self._document(error=details)
        github.write_summary(self._command, self._timeline.spans, code, message)
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


def _root_error(error: BaseException) -> BaseException:
    """Return the error to show out of nested exception groups: an `AcsoError` if there is one."""
    while isinstance(error, BaseExceptionGroup):
        inner = [_root_error(item) for item in error.exceptions]
        error = next((item for item in inner if isinstance(item, AcsoError)), inner[0])
    return error


def _describe(error: BaseException) -> tuple[int, str, str]:
    """Return an error's exit code, message and hint."""
    if isinstance(error, AcsoError):
        return error.exit_code, str(error), error.hint
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted", "run the same command again to continue"
    if isinstance(error, SystemExit):
        return int(error.code or 0), "", ""
    if type(error).__module__.startswith("dagger"):
        return EngineError.exit_code, str(error), "acso doctor"
    # Any other exception is a defect; a report of it needs the traceback.
    sys.stderr.write("".join(traceback.format_exception(error)))
    return (
        1,
        f"{type(error).__name__}: {error}",
        "this is a defect: please report it with the traceback above",
    )


def _parsed(result: str) -> object:
    try:
        return jsons.loads(result)
    except ValueError:
        return result


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


def _write(text: str) -> None:
    """Write to standard output; it is no error if the reader has gone (`| head`)."""
    try:
        sys.stdout.write(text.rstrip("\n") + "\n" if text else "")
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes standard output again at exit: that must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
