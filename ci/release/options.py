"""How a release behaves to its user and to others: stopped, waiting, going on, going back."""

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
class Manner:
    """How a release behaves to others and to its user.

    `wait` is for the lock, in seconds; `promised` is what the plan that it carries out has seen:
    with anything else there, nothing is begun. `notify` is told when it starts, goes back and ends.
    """

    wait: float = 0.0
    on_cancel: OnCancel = OnCancel.KEEP
    stop: Stop = field(default_factory=Unstoppable)
    promised: Mapping[str, str] | None = None
    notify: Notify = tell_nobody


async def unless_stopped(work: Callable[[], Awaitable[T]], manner: Manner) -> T:
    """Do work that changes nothing; raises `InterruptedReleaseError` if the user stops it."""
    result = await until(work, manner.stop.asked)
    if result is None:
        raise InterruptedReleaseError("interrupted before anything was changed")
    return result
