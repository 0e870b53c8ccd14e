"""What the checks of a suite read, once for all of them."""

from collections.abc import Awaitable, Callable, Hashable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio

T = TypeVar("T")
#: When the current attempt of a check began (the event loop's clock); what was read before it is
#: read again. The first attempts of all checks share what any of them has read.
attempt_began: ContextVar[float] = ContextVar("attempt_began", default=0.0)


@dataclass
class _Entry:
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    began: float = -1.0
    value: Any = None
    error: Exception | None = None


@dataclass
class Reads:
    """Answers of AWS by key: several checks that ask for the same wait for one call.

    Without it, a suite of forty checks would describe every service ten times. An error is shared
    as well: a missing permission is asked about once.
    """

    _entries: dict[Hashable, _Entry] = field(default_factory=dict)
    asked: int = 0

    async def get(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Return what `read` returns, from an earlier call of this attempt if there was one.

        Raises:
            Exception: what `read` raised.
        """
        entry = self._entries.setdefault(key, _Entry())
        async with entry.lock:
            if entry.began < attempt_began.get():
                await self._read(entry, read)
        if entry.error is not None:
            raise entry.error
        value: T = entry.value
        return value

    async def _read(self, entry: _Entry, read: Callable[[], Awaitable[Any]]) -> None:
        began = anyio.current_time()
        self.asked += 1
        try:
            value, error = await read(), None
        except Exception as problem:
            value, error = None, problem
        # Set together, and not at all if it was cancelled.
        entry.began, entry.value, entry.error = began, value, error
