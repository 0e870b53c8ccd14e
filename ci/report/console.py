"""Show spans on a terminal: finished stages as lines, running ones below them with their time."""

import time
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from ci.report.progress import Lines, Listener, Span, State

MARKS: dict[State, tuple[str, str]] = {
    "ok": ("✓", "green"),
    "not examined": ("?", "yellow"),
    "failed": ("✗", "bold red"),
    "cancelled": ("-", "yellow"),
    "running": (" ", ""),
}


class Timeline:
    """Records every span for reports and passes events on to another listener."""

    def __init__(self, listener: Listener) -> None:
        self.spans: list[Span] = []
        self._listener = listener

    def began(self, span: Span) -> None:
        """Record a stage that began and pass it on."""
        self.spans.append(span)
        self._listener.began(span)

    def noted(self, span: Span, line: str) -> None:
        """Pass on a line of a running stage."""
        self._listener.noted(span, line)

    def ended(self, span: Span) -> None:
        """Pass on the end of a stage."""
        self._listener.ended(span)


class Terminal:
    """Shows spans on a terminal that can be redrawn; use it as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._running: dict[int, Span] = {}
        self._spinners: dict[int, Spinner] = {}
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=8)

    def __enter__(self) -> "Terminal":
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def began(self, span: Span) -> None:
        """Add a stage to the running ones."""
        # The spinner first: another thread draws what runs.
        self._spinners[id(span)] = Spinner("dots", style="cyan")
        self._running[id(span)] = span

    def noted(self, span: Span, line: str) -> None:
        """Print nothing: a running stage is shown with its last note."""

    def ended(self, span: Span) -> None:
        """Remove a stage from the running ones and print its line above them."""
        self._running.pop(id(span), None)
        self._spinners.pop(id(span), None)
        mark, style = MARKS[span.state]
        line = Text.assemble(
            (f"{mark} ", style),
            f"{span.name:<18}",
            (f"{span.seconds:6.1f} s  ", "dim"),
            span.headline,
        )
        self._console.print(line, overflow="fold")

    def _render(self) -> RenderableType:
        now = time.monotonic()
        rows = []
        for key, span in list(self._running.items()):
            spinner = self._spinners.get(key)
            if spinner is None:  # it has just ended
                continue
            note = span.notes[-1] if span.notes else ""
            text = f"{span.name:<18}{now - span.began:6.1f} s  {note}"
            spinner.update(text=Text(text, no_wrap=True, overflow="ellipsis"))
            rows.append(spinner)
        return Group(*rows)


def make_listener(console: Console) -> Terminal | Lines:
    """Return the listener for a console: redrawn on a terminal, plain lines otherwise."""
    return Terminal(console) if console.is_terminal else Lines(console.file)
