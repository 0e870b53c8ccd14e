"""Stages as they happen: a span each, shown by whoever listens.

The pipeline opens spans with `stage`; a `Listener` set by `listen` shows them. Without one, as
inside a Dagger engine, a line each goes to standard error, where the engine picks it up.
"""

import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal, Protocol

State = Literal["running", "ok", "failed", "cancelled"]


@dataclass(kw_only=True)
class Span:
    """One stage: its name, when it began (monotonic seconds), how long it took, what came out."""

    name: str
    began: float
    state: State = "running"
    seconds: float = 0.0
    result: str = ""
    notes: list[str] = field(default_factory=list)
    _listener: "Listener"

    def say(self, line: str) -> None:
        """Tell one line of progress."""
        self.notes.append(line)
        self._listener.noted(self, line)

    def end(self, state: State) -> None:
        """Close the span."""
        self.state, self.seconds = state, time.monotonic() - self.began
        self._listener.ended(self)

    def data(self) -> dict[str, object]:
        """Return the span for a JSON report."""
        return {
            "stage": self.name,
            "state": self.state,
            "seconds": round(self.seconds, 3),
            "result": self.result,
        }


class Listener(Protocol):
    """Who shows spans."""

    def began(self, span: Span) -> None:
        """Show that a stage began."""

    def noted(self, span: Span, line: str) -> None:
        """Show a line of a running stage."""

    def ended(self, span: Span) -> None:
        """Show a stage's end."""


class Lines:
    """Spans as plain lines, for logs and pipes."""

    def __init__(self, write: "Write" = sys.stderr) -> None:
        self._write = write

    def began(self, span: Span) -> None:
        """Say nothing: a short stage is one line, at its end."""

    def noted(self, span: Span, line: str) -> None:
        """Write the line behind the stage's name."""
        self._line(f"   {span.name}: {line}")

    def ended(self, span: Span) -> None:
        """Write how the stage ended."""
        mark = {"ok": "ok ", "failed": "FAILED "}.get(span.state, span.state + " ")
        tail = f"  {span.result}" if span.result else ""
        self._line(f"{mark}{span.name} ({span.seconds:.1f} s){tail}")

    def _line(self, text: str) -> None:
        self._write.write(text + "\n")
        self._write.flush()


class Write(Protocol):
    """The part of a text stream that `Lines` needs."""

    def write(self, text: str, /) -> object:
        """Write text."""

    def flush(self) -> object:
        """Bring it out."""


_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Show the spans opened within this context through the listener."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@asynccontextmanager
async def stage(name: str) -> AsyncIterator[Span]:
    """Open a span around a piece of work; an exception ends it as failed, cancelling as such."""
    listener = _listener.get() or Lines()
    span = Span(name=name, began=time.monotonic(), _listener=listener)
    listener.began(span)
    try:
        yield span
    except Exception:
        span.end("failed")
        raise
    except BaseException:
        span.end("cancelled")
        raise
    span.end("ok")
