"""The environment's lock: a lease in DynamoDB, renewed while its holder runs."""

import getpass
import os
import platform
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio

from ci.aws import records
from ci.aws.records import Lease
from ci.common import processes
from ci.errors import AwsError, LockedError
from ci.release.model import ReleaseContext, Say
from ci.release.options import ReleaseOptions, unless_stopped

LEASE_SECONDS = 15.0
RENEWAL_SECONDS = 5.0
POLL_SECONDS = 0.5  # while waiting for another holder
CLOCK_SKEW = 1.0  # seconds by which the clocks of two machines may differ

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a lock, and enough to find out on the same host whether that process is alive."""

    who: str
    host: str
    pid: int
    started: str
    doing: str
    since: str

    def data(self) -> dict[str, Any]:
        """Return the holder as it is stored."""
        return vars(self)


@dataclass(frozen=True, kw_only=True)
class HeldLock:
    """A lock that this process holds; every write names its token."""

    token: str
    holder: str


async def under_lock(
    context: ReleaseContext,
    doing: str,
    say: Say,
    work: Callable[[HeldLock], Awaitable[T]],
    *,
    options: ReleaseOptions = ReleaseOptions(),  # noqa: B008 (frozen)
) -> T:
    """Do work while holding the environment's lock.

    The lease of a dead holder is taken over: at once if it was a process of this host, otherwise
    when it expires. Raises `LockedError` if the holder is alive after `options.wait` seconds, or
    if the lease is lost.
    """
    me = holder(doing, context.clock.now().isoformat(timespec="seconds"))
    lease = await unless_stopped(lambda: _acquire(context, me, say, options.wait), options)
    results: list[T] = []
    errors: list[Exception] = []
    lost: list[str] = []
    try:
        async with anyio.create_task_group() as group:

            async def renew() -> None:
                lost.append(await _renew_until_lost(context, lease))
                group.cancel_scope.cancel()

            group.start_soon(renew)
            try:
                results.append(await work(HeldLock(token=lease.token, holder=me.who)))
            except Exception as error:
                errors.append(error)
            group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(RENEWAL_SECONDS):
            await records.release_lease(context.aws, context.outputs.releases_table, lease.token)
    if errors:
        raise errors[0]
    if not results:
        raise LockedError(lost[0], hint=f"./acso status --env {context.env.name}")
    return results[0]


async def refuse_if_locked(context: ReleaseContext, say: Say) -> None:
    """Check early, before long work, that the environment can be locked.

    Raises `LockedError` if the holder of the lock is alive.
    """
    await _wait_until_free(context, say, 0.0, context.clock.monotonic())


async def current(context: ReleaseContext) -> Lease | None:
    """Return the current lease; None if the environment is not locked."""
    return await records.lease(context.aws, context.outputs.releases_table)


def holder(doing: str, since: str) -> Holder:
    """Return this process as a holder."""
    pid = os.getpid()
    return Holder(
        who=f"{_user()} on {platform.node()} (process {pid})",
        host=processes.host(),
        pid=pid,
        started=processes.start_time(pid),
        doing=doing,
        since=since,
    )


def describe(lease: Lease) -> str:
    """Describe who holds a lock, since when, and what they are doing."""
    data = lease.holder
    return f"{data.get('who', 'somebody')}, {data.get('doing', 'busy')} since {data.get('since')}"


def holder_is_dead(data: Mapping[str, Any]) -> bool:
    """Return whether a holder was a process of this host that has ended; False if unknown."""
    if data.get("host") != processes.host():
        return False
    return not processes.alive(int(data.get("pid", 0)), str(data.get("started")))


def has_expired(context: ReleaseContext, lease: Lease) -> bool:
    """Return whether a lease expired without being renewed."""
    return _now(context) > lease.expires + CLOCK_SKEW


def is_active(context: ReleaseContext, lease: Lease | None) -> bool:
    """Return whether the holder of a lock may still be working."""
    return (
        lease is not None and not holder_is_dead(lease.holder) and not has_expired(context, lease)
    )


async def _acquire(context: ReleaseContext, me: Holder, say: Say, wait: float) -> Lease:
    """Take the lock when it is free, its holder dead, or its lease expired."""
    deadline = context.clock.monotonic() + wait
    while True:
        seen = await _wait_until_free(context, say, wait, deadline)
        if seen is not None:
            say(f"taking over from {describe(seen)}: that process is dead")
        lease = Lease(token=uuid.uuid4().hex, expires=_expiry(context), holder=me.data())
        if await records.put_lease(context.aws, context.outputs.releases_table, lease, old=seen):
            return lease
        # Another process was faster: wait for it.


async def _wait_until_free(
    context: ReleaseContext, say: Say, wait: float, deadline: float
) -> Lease | None:
    """Return the lock when no live process holds it: None, or the lease of a dead process.

    Raises `LockedError` if the holder renews its lease after the deadline.
    """
    first: Lease | None = None
    announced = ""
    while True:
        seen = await records.lease(context.aws, context.outputs.releases_table)
        if seen is None or not is_active(context, seen):
            return seen
        if seen.token != announced:
            doing = f"waiting up to {wait:g} s" if wait else "checking whether it is alive"
            say(f"the environment is locked by {describe(seen)}; {doing}")
        announced, first = seen.token, first or seen
        lives = (seen.token, seen.expires) != (first.token, first.expires)
        if lives and context.clock.monotonic() >= deadline:
            raise _locked(context, seen)
        await context.clock.sleep(POLL_SECONDS)


def _locked(context: ReleaseContext, lease: Lease) -> LockedError:
    env = f"--env {context.env.name}"
    return LockedError(
        f"{context.env.name} is locked by {describe(lease)}",
        hint=f"wait for it: --wait SECONDS; or see: ./acso status {env}, ./acso unlock {env}",
    )


async def _renew_until_lost(context: ReleaseContext, lease: Lease) -> str:
    """Renew the lease until it is lost; return why it was lost."""
    table = context.outputs.releases_table
    while True:
        await context.clock.sleep(RENEWAL_SECONDS)
        renewed = Lease(token=lease.token, expires=_expiry(context), holder=lease.holder)
        try:
            if not await records.put_lease(context.aws, table, renewed, old=lease):
                return f"another process took over the lock of {context.env.name}"
            lease = renewed
        except AwsError as error:
            # A failed call is no loss as long as the lease has not expired.
            if _now(context) > lease.expires:
                return f"the lock of {context.env.name} could not be renewed: {error}"


def _now(context: ReleaseContext) -> float:
    return context.clock.now().timestamp()


def _expiry(context: ReleaseContext) -> float:
    return round(_now(context) + LEASE_SECONDS, 3)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())  # a container's user may have no name
