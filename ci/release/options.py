"""Options of a release: waiting for the lock, interruption, a saved plan, notifications."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeVar

import anyio

from ci.common.concurrency import until
from ci.errors import InterruptedReleaseError
from ci.release.model import Notify, tell_nobody

T = TypeVar("T")


class OnCancel(StrEnum):
    """What becomes of a release that its user stops."""

    KEEP = "keep"  # as it is; the next `deploy` goes on, `rollback` undoes it
    ROLLBACK = "rollback"


class Stop(Protocol):
    """How the user tells a running release to stop."""

    async def asked(self) -> None:
        """Return once the user asks to stop."""

    async def asked_again(self) -> bool:
        """Give the user a moment to ask once more; tells whether that happened."""


class Unstoppable:
    """Nobody asks: for callers that cancel, if anything."""

    async def asked(self) -> None:
        """Never return."""
        await anyio.sleep_forever()

    async def asked_again(self) -> bool:
        """Return False at once."""
        return False


@dataclass(frozen=True, kw_only=True)
class ReleaseOptions:
    """How a release waits, stops and notifies.

    `wait` is the seconds to wait for the lock; `expected` is what the saved plan found:
    if anything differs, the release does not start. `notify` receives a notification at the start,
    at a rollback and at the end.
    """

    wait: float = 0.0
    on_cancel: OnCancel = OnCancel.KEEP
    stop: Stop = field(default_factory=Unstoppable)
    expected: Mapping[str, str] | None = None
    notify: Notify = tell_nobody


async def unless_stopped(work: Callable[[], Awaitable[T]], options: ReleaseOptions) -> T:
    """Do work that changes nothing; raises `InterruptedReleaseError` if the user stops it."""
    result = await until(work, options.stop.asked)
    if result is None:
        raise InterruptedReleaseError("interrupted before anything was changed")
    return result
