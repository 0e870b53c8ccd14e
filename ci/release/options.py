"""Options of a release: waiting for the lock, interruption, a saved plan, notifications."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeVar

import anyio

from ci.common.concurrency import until
from ci.errors import InterruptedReleaseError
from ci.release.model import Notify, ReleaseContext, ignore_notification

T = TypeVar("T")


class OnCancel(StrEnum):
    """What happens to a release that the user interrupts."""

    KEEP = "keep"  # it stays as it is; the next `deploy` resumes, `rollback` undoes it
    ROLLBACK = "rollback"


class Relation(StrEnum):
    """How the commit of a release relates to the source that is deployed."""

    CONTAINED = "contained"  # the source contains it, or nobody can say
    UNKNOWN = "unknown"  # this checkout does not have it
    NEWER = "newer"  # it contains the source
    DIVERGED = "diverged"  # neither contains the other


#: Returns how a commit relates to the source.
Relate = Callable[[str], Relation]


class Stop(Protocol):
    """How the user interrupts a running release."""

    async def asked(self) -> None:
        """Return when the user interrupts."""

    async def asked_again(self) -> bool:
        """Wait a moment for a second interrupt; return whether it came."""


class Unstoppable:
    """No interrupt, for callers that stop a release by cancellation."""

    async def asked(self) -> None:
        """Never return."""
        await anyio.sleep_forever()

    async def asked_again(self) -> bool:
        """Return False at once."""
        return False


async def verify_nothing(_: ReleaseContext) -> None:
    """Check nothing."""


@dataclass(frozen=True, kw_only=True)
class ReleaseOptions:
    """How a release waits, stops and notifies.

    `wait` is the seconds to wait for the lock; `expected` is what the saved plan found:
    if anything differs, the release does not start. `notify` receives a notification at the start,
    at a rollback and at the end. `verify` is called with the infrastructure in place, before a
    service is changed; it raises if anything that the release needs is missing. `relate` tells
    whether the source contains the current release; None: nobody asks.
    """

    wait: float = 0.0
    on_cancel: OnCancel = OnCancel.KEEP
    stop: Stop = field(default_factory=Unstoppable)
    expected: Mapping[str, str] | None = None
    notify: Notify = ignore_notification
    relate: Relate | None = None
    verify: Callable[[ReleaseContext], Awaitable[None]] = verify_nothing


async def unless_stopped(work: Callable[[], Awaitable[T]], options: ReleaseOptions) -> T:
    """Do work that changes nothing; raises `InterruptedReleaseError` if the user interrupts."""
    result = await until(work, options.stop.asked)
    if result is None:
        raise InterruptedReleaseError("interrupted before anything was changed")
    return result
