"""Virtual time: an event loop in which waiting takes no time."""

import asyncio
import datetime
import selectors

import anyio

EPOCH = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.UTC)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which waiting takes no time: its clock jumps to the next timer."""

    def __init__(self) -> None:
        super().__init__(_Selector(self))
        self.ahead = 0.0

    def time(self) -> float:
        return self.ahead


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found and timeout:
            self._loop.ahead += timeout
        return found


def now() -> datetime.datetime:
    """Return the virtual time of day."""
    return EPOCH + datetime.timedelta(seconds=anyio.current_time())
