"""Virtual time: an event loop that jumps to its next timer, and the agenda of the modelled AWS."""

import asyncio
import datetime
import heapq
import selectors
from collections.abc import Callable
from dataclasses import dataclass, field

EPOCH = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)


class _Selector(selectors.SelectSelector):
    """A selector that waits in virtual time."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("every task waits for another one")
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose timers cost no time."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Return the virtual seconds."""
        return self._virtual.now


@dataclass
class Timeline:
    """What happens in AWS by itself, in order; it is brought up to date before each look."""

    clock: Callable[[], float]
    now: float = 0.0
    _agenda: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _count: int = 0

    def __post_init__(self) -> None:
        self.now = self.clock()

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        """Let something happen after these seconds."""
        self._count += 1
        heapq.heappush(self._agenda, (self.now + seconds, self._count, do))

    def advance(self) -> None:
        """Let everything happen that is due."""
        until = self.clock()
        while self._agenda and self._agenda[0][0] <= until:
            self.now, _, do = heapq.heappop(self._agenda)
            do()
        self.now = until

    def date(self, at: float | None = None) -> datetime.datetime:
        """Return a moment as AWS writes it; by default the current one."""
        return EPOCH + datetime.timedelta(seconds=self.now if at is None else at)


class RefusedError(Exception):
    """An error that AWS answers with."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message
