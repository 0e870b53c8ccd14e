"""Standard input, output and error: closed, full, without a reader, or in an encoding like ASCII.

Lost progress is no reason to end a command; a lost result is an error. A reader that has gone
(`| head`) ends a command quietly.
"""

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from ci.errors import HostError

STDIN, STDOUT, STDERR = 0, 1, 2


class ReaderGoneError(Exception):
    """Nobody reads standard output any more."""


class Progress(io.TextIOWrapper):
    """Standard error that never raises: what cannot be written is lost."""

    def write(self, text: str, /) -> int:
        """Write text, or discard it."""
        try:
            return super().write(text)
        except (OSError, ValueError):
            _discard(STDERR)
            return len(text)

    def flush(self) -> None:
        """Flush what was written, or discard it."""
        try:
            super().flush()
        except (OSError, ValueError):
            _discard(STDERR)


def prepare() -> bool:
    """Make the standard streams usable; return whether standard output was closed.

    A closed descriptor would otherwise be the number of the next file or socket that is opened, and
    receive what is printed.
    """
    closed = sys.stdout is None
    for name in ("COLUMNS", "LINES"):  # libraries take what is no number for one
        if not re.fullmatch(r"[1-9][0-9]{0,3}", os.environ.get(name, "1")):
            del os.environ[name]
    for number in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(number)
        except OSError:
            _discard(number)
    if sys.stdin is None:
        sys.stdin = open(STDIN, encoding="utf-8", closefd=False)  # noqa: SIM115 (for the whole process)
    if closed:
        sys.stdout = open(STDOUT, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 (the same)
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = _progress()
    if isinstance(sys.stdout, io.TextIOWrapper):  # what the encoding lacks is shown as \u1234
        sys.stdout.reconfigure(errors="backslashreplace")
    return closed


def write(text: str, out: TextIO | None = None) -> None:
    """Write text and a line's end to standard output, at once.

    Raises:
        ReaderGoneError: nobody reads it any more.
        HostError: it cannot be written, as on a full disk.
    """
    stream = out or sys.stdout
    try:
        stream.write(text + "\n")
        stream.flush()
    except BrokenPipeError:
        _forget(stream)
        raise ReaderGoneError from None
    except OSError as error:
        _forget(stream)
        message = f"standard output cannot be written: {error.strerror}"
        raise HostError(message, hint="the command was run; write its output elsewhere") from None


@contextmanager
def reserved(*, on: bool) -> Iterator[TextIO]:
    """Give the block standard output for itself, if `on`.

    What anything else prints in the block, also a program that it starts, goes to standard error.
    """
    out = sys.stdout
    if not on:
        yield out
        return
    out.flush()
    sys.stdout = sys.stderr
    try:
        if out is not sys.__stdout__:  # replaced within Python alone
            yield out
            return
        kept = os.dup(STDOUT)
        os.dup2(STDERR, STDOUT)
        try:
            yield open(  # noqa: SIM115 (the descriptor is closed below)
                kept, "w", encoding="utf-8", errors="backslashreplace", closefd=False
            )
        finally:
            os.dup2(kept, STDOUT)
            os.close(kept)
    finally:
        sys.stdout = out


def _progress() -> Progress:
    binary = open(STDERR, "wb", closefd=False)  # noqa: SIM115 (for the whole process)
    return Progress(binary, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _forget(stream: TextIO) -> None:
    """Discard what a stream still holds: Python flushes it again when it ends."""
    with suppress(OSError, ValueError):
        _discard(stream.fileno())
    with suppress(OSError, ValueError):
        stream.flush()


def _discard(number: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
