"""Concurrent calls for the same work share one run."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import anyio
from anyio.abc import TaskGroup

T = TypeVar("T")


@dataclass
class _Flight:
    done: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    waiting: int = 0
    result: Any = None
    error: BaseException | None = None


class SingleFlight:
    """Work in progress by key; it is cancelled when the last caller is."""

    def __init__(self, group: TaskGroup) -> None:
        self._group = group
        self._flights: dict[str, _Flight] = {}

    async def run(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        """Return what the work returns, or raise what it raises; join it if it runs already."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight()
            self._group.start_soon(self._execute, key, flight, work)
        flight.waiting += 1
        try:
            await flight.done.wait()
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.done.is_set():
                self._forget(key, flight)
                flight.scope.cancel()
        if flight.error is not None:
            raise flight.error
        return cast("T", flight.result)

    async def _execute(self, key: str, flight: _Flight, work: Callable[[], Awaitable[Any]]) -> None:
        try:
            with flight.scope:
                flight.result = await work()
        except Exception as error:
            flight.error = error
        finally:
            self._forget(key, flight)
            flight.done.set()

    def _forget(self, key: str, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
