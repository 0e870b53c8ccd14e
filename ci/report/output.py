"""Run a command; show its stages, its result or error as text or JSON; return its exit code."""

import errno
import json as jsons
import re
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Literal, TextIO

from rich.console import Console
from rich.text import Text

from ci.common import tables
from ci.errors import AcsoError, EngineError, HostError, UsageError
from ci.report import github, streams
from ci.report.console import Timeline, make_listener
from ci.report.progress import Lines, listen
from ci.report.result import RenderedResult

INTERRUPTED = 130
Streaming = Literal["no", "text", "lines"]
#: Control characters but tabs and line ends; a message may quote a file or an argument.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
HINTS = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EACCES: "check who owns it",
    errno.EPERM: "check who owns it",
    errno.EROFS: "set XDG_STATE_HOME and XDG_CACHE_HOME to folders that can be written",
}


class Report:
    """Shows the stages of one command as they happen, then its result or error."""

    def __init__(
        self, *, command: str, json: bool, streaming: Streaming = "no", defects: Path | None = None
    ) -> None:
        """Prepare a report.

        Args:
            command: the command's name.
            json: print one JSON document instead of text.
            streaming: the command prints "text" while it runs, so nothing may be redrawn, or JSON
                "lines", so a document would be one too many: only an error is one, in a line.
            defects: where the traceback of an unexpected error is written; None: to stderr.
        """
        self._command = command
        self._json = json
        self._streaming = streaming
        self._defects = defects
        self._began = time.monotonic()
        # rich itself respects NO_COLOR and prints no colours to a pipe.
        self._errors = Console(stderr=True, highlight=False)
        self._timeline = Timeline(Lines(sys.stderr))

    def run(self, command: Callable[[], str | int]) -> int:
        """Run the command and return its exit code; print results to stdout, the rest to stderr."""
        with streams.reserved(on=self._json and self._streaming != "lines") as out:
            try:
                return self._ended(self._run(command), out)
            except BaseException as error:
                return self._failed(_root_error(error), out)

    def _run(self, command: Callable[[], str | int]) -> str | int:
        with ExitStack() as stack:
            shown = Lines(sys.stderr) if self._streaming != "no" else make_listener(self._errors)
            if not isinstance(shown, Lines):
                stack.enter_context(shown)
            self._timeline = Timeline(shown)
            stack.enter_context(listen(self._timeline))
            return command()

    def _ended(self, result: str | int, out: TextIO) -> int:
        """Print a result; a number is the exit code of a command without one."""
        text = "" if isinstance(result, int) else result.rstrip("\n")
        code = result if isinstance(result, int) else getattr(result, "exit_code", 0)
        if isinstance(result, str):
            github.write_summary(self._command, self._timeline.spans, code, text)
        if self._json and self._streaming != "lines":
            self._document(out, code, result=None if isinstance(result, int) else _parsed(result))
        elif text:
            width = tables.terminal_width() if isinstance(result, RenderedResult) else 0
            streams.write(tables.fitted(text, width=width), out)
        return code

    def _failed(self, error: BaseException, out: TextIO) -> int:
        if isinstance(error, streams.ReaderGoneError):
            return 0
        code, message, hint = _describe(error, self._defects)
        if isinstance(error, UsageError):
            hint = hint or f"./acso {self._command} --help"
        if self._json:
            kind = type(error).__name__
            data = {"kind": kind, "message": message, "hint": hint, "exit_code": code}
            if found := getattr(error, "details", None):
                data["details"] = found
            with suppress(HostError, streams.ReaderGoneError):  # the error is also printed below
                self._document(out, code, error=data)
        github.write_summary(self._command, self._timeline.spans, code, message)
        if github.active():
            sys.stderr.write(github.failure(self._command, message, hint) + "\n")
            return code
        self._print_error(f"error: {message}")
        if hint:
            self._print_error(f"  next: {hint}")
        return code

    def _print_error(self, text: str) -> None:
        width = tables.terminal_width(sys.stderr)
        shown = Text(tables.fitted(CONTROL.sub("", text), width=width))
        shown.highlight_regex(r"\Aerror:", "bold red")
        self._errors.print(shown, soft_wrap=True)

    def _document(self, out: TextIO, code: int, **end: object) -> None:
        """Print the JSON document (docs/json-output.schema.json)."""
        document = {
            "command": self._command,
            "exit_code": code,
            "seconds": round(time.monotonic() - self._began, 3),
            "stages": [span.data() for span in self._timeline.spans],
            **end,
        }
        indent = None if self._streaming == "lines" else 2
        streams.write(jsons.dumps(document, indent=indent, ensure_ascii=False), out)


def _root_error(error: BaseException) -> BaseException:
    """Return the error to show out of nested exception groups: an `AcsoError` if there is one."""
    while isinstance(error, BaseExceptionGroup):
        inner = [_root_error(item) for item in error.exceptions]
        error = next((item for item in inner if isinstance(item, AcsoError)), inner[0])
    return error


def _describe(error: BaseException, defects: Path | None) -> tuple[int, str, str]:
    """Return an error's exit code, message and hint."""
    if isinstance(error, AcsoError):
        return error.exit_code, str(error), error.hint
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted", "run the same command again to continue"
    if type(error).__module__.startswith("dagger"):
        return EngineError.exit_code, str(error), "acso doctor"
    if isinstance(error, OSError) and error.errno and error.filename:
        hint = HINTS.get(error.errno, "acso doctor")
        return HostError.exit_code, f"{error.filename}: {error.strerror}", hint
    return _defect(error, defects)


def _defect(error: BaseException, file: Path | None) -> tuple[int, str, str]:
    """Describe an unexpected exception; a report of it needs the traceback."""
    text = "".join(traceback.format_exception(error))
    where = "above"
    try:
        if file is None or github.active():  # the file of a job's runner is lost with it
            sys.stderr.write(github.group("traceback", text) + "\n" if github.active() else text)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8", errors="backslashreplace")
            where = f"in {file}"
    except OSError:
        where = f"at {_place(error)}"
    hint = f"this is a defect: please report it with the traceback {where}"
    return 1, f"{type(error).__name__}: {error}", hint


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"


def _parsed(result: str) -> object:
    if isinstance(result, RenderedResult):
        return jsons.loads(result.document)
    try:
        return jsons.loads(result)
    except ValueError:
        return result
