"""Ctrl-C while a release is under way: asked for once, and perhaps once more.

Elsewhere Ctrl-C cancels what runs. A release is not cancelled but told, so that it can record
where it stopped, or go back, before anything around it is taken down.
"""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

#: Seconds in which a second Ctrl-C is waited for. Below the 7.5 s after which GitHub follows a
#: cancelled step's SIGINT by SIGTERM, which must not be taken for the user's second wish.
MOMENT = 3.0


class Interrupts:
    """What the user asked for so far (`ci.release.Stop`)."""

    def __init__(self) -> None:
        self._first, self._second = anyio.Event(), anyio.Event()

    def note(self) -> None:
        """Take one Ctrl-C down."""
        (self._second if self._first.is_set() else self._first).set()

    async def asked(self) -> None:
        """Return once the user asks to stop."""
        await self._first.wait()

    async def asked_again(self) -> bool:
        """Give the user a moment to ask once more; tells whether that happened."""
        with anyio.move_on_after(MOMENT):
            await self._second.wait()
        return self._second.is_set()


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Take SIGINT down instead of being cancelled by it, as long as the context lasts.

    In a thread other than the main one, which gets no signals, nobody ever asks.
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
