"""Ctrl-C during a release.

Elsewhere Ctrl-C cancels the running command. A release is notified instead, so that it can record
where it stopped, or roll back, before the engine session closes.
"""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

#: Seconds to wait for a second Ctrl-C. GitHub sends a cancelled step SIGINT, and SIGTERM 7.5 s
#: later: that SIGTERM must not count as a second Ctrl-C, so this is shorter.
MOMENT = 3.0


class Interrupts:
    """The interrupts received so far; implements `ci.release.Stop`."""

    def __init__(self) -> None:
        self._first, self._second = anyio.Event(), anyio.Event()

    def note(self) -> None:
        """Record one Ctrl-C."""
        (self._second if self._first.is_set() else self._first).set()

    async def asked(self) -> None:
        """Return at the first Ctrl-C."""
        await self._first.wait()

    async def asked_again(self) -> bool:
        """Wait `MOMENT` seconds for a second Ctrl-C; return whether it came."""
        with anyio.move_on_after(MOMENT):
            await self._second.wait()
        return self._second.is_set()


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Record SIGINT instead of being cancelled by it, inside the `with` block.

    Outside the main thread, which alone receives signals, nothing is ever recorded.
    """
    found = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield found
        return
    # asyncio removes a handler to Python's default; its runner's own would then be lost.
    loop, before = asyncio.get_running_loop(), signal.getsignal(signal.SIGINT)
    loop.add_signal_handler(signal.SIGINT, found.note)
    try:
        yield found
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)
