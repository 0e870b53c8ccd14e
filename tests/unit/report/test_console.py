"""Stages on a terminal that is redrawn by a thread of its own."""

import io

from rich.console import Console

from ci.report.console import Terminal
from ci.report.progress import Span


class Watching(dict[int, Span]):
    """The running spans; draws at each change, as another thread may."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self.terminal = terminal

    def __setitem__(self, key: int, span: Span) -> None:
        super().__setitem__(key, span)
        self.terminal._render()


def test_a_stage_can_be_drawn_at_any_moment() -> None:
    out = io.StringIO()
    terminal = Terminal(Console(file=out, force_terminal=True, width=80))
    terminal._running = Watching(terminal)
    span = Span(name="build", began=0.0, _listener=terminal)
    terminal.began(span)
    key = id(span)
    spinner = terminal._spinners.pop(key)  # ended, between two steps of the drawing
    terminal._render()
    terminal._spinners[key] = spinner
    span.end("ok")
    assert "build" in out.getvalue()
