"""The environment's lock: a lease in DynamoDB, renewed while its holder runs.

No two clocks are compared. The holder stops `LEASE_SECONDS` after it sent its last successful
renewal, by its own clock; another process takes over when it has seen the lease unchanged for
longer than that, by its own clock. It saw that renewal after it was sent, so it is later.
"""

import getpass
import os
import platform
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import anyio

from ci.aws import records
from ci.aws.failures import throttled, unanswered
from ci.aws.records import Lease
from ci.aws.session import Aws
from ci.common import processes
from ci.errors import AwsError, LockedError
from ci.release.model import ReleaseContext, Say
from ci.release.options import ReleaseOptions, unless_stopped

LEASE_SECONDS = 15.0
RENEWAL_SECONDS = 5.0
POLL_SECONDS = 0.5  # while waiting for another holder
RETRY_SECONDS = 1.0  # after a renewal or a removal that failed
TAKEOVER_SECONDS = LEASE_SECONDS + 1.0  # without a change, after which a holder counts as dead
#: Seconds by which the clocks of two machines may differ, for what is only shown.
CLOCK_SKEW = 30.0

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
    """A lock that this process holds; every write names its token.

    `lost` is set when the lease is lost: what is shielded from cancellation must stop as well.
    """

    token: str
    holder: str
    lost: anyio.Event = field(default_factory=anyio.Event, compare=False)


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
    after `TAKEOVER_SECONDS`. Raises `LockedError` if the holder is alive after `options.wait`
    seconds, or if the lease is lost.
    """
    me = holder(doing, context.clock.now().isoformat(timespec="seconds"))
    renewals = await unless_stopped(lambda: _acquire(context, me, say, options.wait), options)
    held = HeldLock(token=renewals.lease.token, holder=me.who)
    # A rollback goes on when this is cancelled: it still needs the lock, and to know of its loss.
    keeping = [anyio.CancelScope(shield=True) for _ in range(2)]
    results: list[T] = []
    errors: list[Exception] = []
    lost: list[str] = []
    try:
        async with anyio.create_task_group() as group:

            async def until_lost(
                scope: anyio.CancelScope, watching: Callable[[], Awaitable[str]]
            ) -> None:
                with scope:
                    lost.append(await watching())
                    held.lost.set()
                    group.cancel_scope.cancel()

            group.start_soon(until_lost, keeping[0], renewals.renew)
            group.start_soon(until_lost, keeping[1], renewals.expire)
            try:
                results.append(await work(held))
            except Exception as error:
                errors.append(error)
            finally:
                for scope in keeping:
                    scope.cancel()
            group.cancel_scope.cancel()
    finally:
        await _release(context, held, say)
    if errors:
        raise errors[0]
    if not results:
        raise LockedError(lost[0], hint=f"./acso status --env {context.env.name}")
    return results[0]


async def _release(context: ReleaseContext, held: HeldLock, say: Say) -> None:
    """Remove the lock; if that fails, it expires, and how the work ended is still reported."""
    table, problem = context.outputs.releases_table, "no answer"
    with anyio.CancelScope(shield=True), anyio.move_on_after(LEASE_SECONDS):
        while True:
            try:
                await records.release_lease(context.aws.quick(), table, held.token)
                return
            except AwsError as error:
                problem = str(error)
                if held.lost.is_set() or not (throttled(error) or unanswered(error)):
                    break
            await context.clock.sleep(RETRY_SECONDS)
    say(f"the lock is not removed, and expires in {LEASE_SECONDS:g} s: {problem}")


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


def is_active(context: ReleaseContext, lease: Lease | None) -> bool:
    """Return whether the holder of a lock seems to be working; to be shown only."""
    if lease is None or holder_is_dead(lease.holder):
        return False
    return context.clock.now().timestamp() <= lease.expires + CLOCK_SKEW


async def is_renewed(context: ReleaseContext, lease: Lease) -> bool:
    """Watch a lease; return whether its holder, or another one, renews it."""
    try:
        seen = await _wait_until_free(context, _silently, 0.0, context.clock.monotonic())
    except LockedError:
        return True
    return seen is not None and seen != lease


async def _acquire(context: ReleaseContext, me: Holder, say: Say, wait: float) -> "_Renewals":
    """Take the lock when it is free, or its holder dead."""
    deadline = context.clock.monotonic() + wait
    while True:
        seen = await _wait_until_free(context, say, wait, deadline)
        if seen is not None:
            say(f"taking over from {describe(seen)}: that process is dead")
        began = context.clock.monotonic()
        lease = Lease(token=uuid.uuid4().hex, expires=_expiry(context), holder=me.data())
        kept = await _put(context, context.aws, lease, seen)
        while kept is not None and context.clock.monotonic() - began >= RENEWAL_SECONDS:
            # The answer took so long that the lease may have expired meanwhile.
            began, wanted = context.clock.monotonic(), replace(kept, expires=_expiry(context))
            kept = await _put(context, context.aws, wanted, kept)
        if kept is not None:
            return _Renewals(context, kept, began)
        # Another process was faster: wait for it.


async def _put(context: ReleaseContext, aws: Aws, wanted: Lease, old: Lease | None) -> Lease | None:
    """Write a lease; return what is held then, None if another process holds the lock.

    A refusal may be the answer to a repetition of one's own write, whose answer was lost: then the
    table has one's own token.
    """
    table = context.outputs.releases_table
    if await records.put_lease(aws, table, wanted, old=old):
        return wanted
    seen = await records.lease(aws, table)
    return seen if seen is not None and seen.token == wanted.token else None


async def _wait_until_free(
    context: ReleaseContext, say: Say, wait: float, deadline: float
) -> Lease | None:
    """Return the lock when no live process holds it: None, or the lease of a dead process.

    Raises `LockedError` if the holder renews its lease after the deadline.
    """
    first: Lease | None = None
    last, since, announced = None, 0.0, ""
    while True:
        seen = await records.lease(context.aws, context.outputs.releases_table)
        now = context.clock.monotonic()
        if seen is None or holder_is_dead(seen.holder):
            return seen
        if seen != last:
            last, since = seen, now
        if now - since > TAKEOVER_SECONDS:
            return seen
        if seen.token != announced:
            doing = f"waiting up to {wait:g} s" if wait else "checking whether it is alive"
            say(f"the environment is locked by {describe(seen)}; {doing}")
        announced, first = seen.token, first or seen
        if seen != first and now >= deadline:
            raise _locked(context, seen)
        await context.clock.sleep(POLL_SECONDS)


def _silently(line: str) -> None:
    """Report nothing."""


def _locked(context: ReleaseContext, lease: Lease) -> LockedError:
    env = f"--env {context.env.name}"
    return LockedError(
        f"{context.env.name} is locked by {describe(lease)}",
        hint=f"wait for it: --wait SECONDS; or see: ./acso status {env}, ./acso unlock {env}",
    )


class _Renewals:
    """The lease that this process holds, and when its last successful renewal was sent."""

    def __init__(self, context: ReleaseContext, lease: Lease, sent: float) -> None:
        self._context, self.lease, self._sent = context, lease, sent

    async def renew(self) -> str:
        """Renew the lease until another process has it; return that."""
        clock, pause = self._context.clock, RENEWAL_SECONDS
        while True:
            await clock.sleep(pause)
            sent = clock.monotonic()
            wanted = replace(self.lease, expires=_expiry(self._context))
            try:
                # A call that takes longer than the lease would be of no use.
                kept = await _put(self._context, self._context.aws.quick(), wanted, self.lease)
            except AwsError:
                pause = RETRY_SECONDS  # no loss as long as the lease has not expired
                continue
            if kept is None:
                return f"another process took over the lock of {self._context.env.name}"
            self.lease, self._sent, pause = kept, sent, RENEWAL_SECONDS

    async def expire(self) -> str:
        """Wait until the lease has expired; a call that hangs does not delay this."""
        clock = self._context.clock
        while (left := self._sent + LEASE_SECONDS - clock.monotonic()) > 0:
            await clock.sleep(left)
        name = self._context.env.name
        return f"the lock of {name} could not be renewed for {LEASE_SECONDS:g} s"


def _expiry(context: ReleaseContext) -> float:
    return round(context.clock.now().timestamp() + LEASE_SECONDS, 3)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())  # a container's user may have no name
