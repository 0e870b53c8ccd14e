"""Progress: each stage of the pipeline is a span, shown by a listener.

The pipeline opens spans with `stage`; the `Listener` set by `listen` shows them. Without one, as
inside a Dagger engine, they are printed as lines to standard error, which the engine shows.
"""

import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal, Protocol

State = Literal["running", "ok", "not examined", "failed", "cancelled"]


@dataclass(kw_only=True)
class Span:
    """One stage: its name, start (monotonic seconds), duration in seconds, result and progress."""

    name: str
    began: float
    state: State = "running"
    seconds: float = 0.0
    result: str = ""
    notes: list[str] = field(default_factory=list)
    unexamined: bool = False  # what it is about could not be looked at: its end is no success
    _listener: "Listener"

    @property
    def headline(self) -> str:
        """The first line of the result; an error says the rest of it."""
        return self.result.partition("\n")[0]

    def say(self, line: str) -> None:
        """Report one line of progress."""
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
    """Shows spans."""

    def began(self, span: Span) -> None:
        """Handle the start of a stage."""

    def noted(self, span: Span, line: str) -> None:
        """Handle a line of progress of a running stage."""

    def ended(self, span: Span) -> None:
        """Handle the end of a stage."""


class Lines:
    """Prints spans as plain lines, for logs and pipes."""

    def __init__(self, write: "Write" = sys.stderr) -> None:
        self._write = write

    def began(self, span: Span) -> None:
        """Print nothing: a stage without progress is one line, printed at its end."""

    def noted(self, span: Span, line: str) -> None:
        """Print the stage's name and the line."""
        self._line(f"   {span.name}: {line}")

    def ended(self, span: Span) -> None:
        """Print how the stage ended."""
        mark = {"ok": "ok ", "failed": "FAILED ", "not examined": "NOT EXAMINED "}.get(
            span.state, span.state + " "
        )
        tail = f"  {span.headline}" if span.result else ""
        self._line(f"{mark}{span.name} ({span.seconds:.1f} s){tail}")

    def _line(self, text: str) -> None:
        self._write.write(text + "\n")
        self._write.flush()


class Write(Protocol):
    """The part of a text stream that `Lines` needs."""

    def write(self, text: str, /) -> object:
        """Write text."""

    def flush(self) -> object:
        """Flush what was written."""


_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Use the listener for all spans opened inside the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@asynccontextmanager
async def stage(name: str) -> AsyncIterator[Span]:
    """Open a span for the block; it ends as failed at an exception, as cancelled if cancelled."""
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
    span.end("not examined" if span.unexamined else "ok")
