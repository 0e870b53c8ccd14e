"""One release at a time: a lease in the environment's table, renewed while its holder lives."""

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

LEASE = 15.0  # seconds
BEAT = 5.0  # seconds between renewals
LOOK = 0.5  # seconds between looks at a lease that may be dead
SLACK = 1.0  # seconds that clocks may differ

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a lock: enough to tell people, and to see on the same host whether it lives."""

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
class Held:
    """The lock, held: the token that every write names."""

    token: str
    holder: str


async def under_lock(
    context: ReleaseContext,
    doing: str,
    say: Say,
    work: Callable[[Held], Awaitable[T]],
    *,
    options: ReleaseOptions = ReleaseOptions(),  # noqa: B008 (frozen)
) -> T:
    """Do work as the only one in the environment, the lease renewed meanwhile.

    A lease whose holder is dead is taken over: at once if it was a process of this host, else
    when it runs out. Raises `LockedError` if the holder lives for longer than `options.wait`, or if
    the lease is lost.
    """
    me = holder(doing, context.clock.now().isoformat(timespec="seconds"))
    lease = await unless_stopped(lambda: _acquire(context, me, say, options.wait), options)
    results: list[T] = []
    errors: list[Exception] = []
    lost: list[str] = []
    try:
        async with anyio.create_task_group() as group:

            async def renew() -> None:
                lost.append(await _keep(context, lease))
                group.cancel_scope.cancel()

            group.start_soon(renew)
            try:
                results.append(await work(Held(token=lease.token, holder=me.who)))
            except Exception as error:
                errors.append(error)
            group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(BEAT):
            await records.give_back(context.aws, context.outputs.releases_table, lease.token)
    if errors:
        raise errors[0]
    if not results:
        raise LockedError(
            lost[0], hint=f"look at it: ./acso status --env {context.environment.name}"
        )
    return results[0]


async def refuse_if_held(context: ReleaseContext, say: Say) -> None:
    """Look whether the environment is free, before long work that ends in taking its lock.

    Raises `LockedError` if a living process holds it.
    """
    await _vacant(context, say, 0.0, context.clock.monotonic())


async def current(context: ReleaseContext) -> Lease | None:
    """Return the lock as it stands, for `status`."""
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


def told(lease: Lease) -> str:
    """Say who holds a lock, since when, and doing what."""
    data = lease.holder
    return f"{data.get('who', 'somebody')}, {data.get('doing', 'busy')} since {data.get('since')}"


def dead(data: Mapping[str, Any]) -> bool:
    """Tell whether a holder was a process of this host that is no more; False if unknown."""
    if data.get("host") != processes.host():
        return False
    return not processes.alive(int(data.get("pid", 0)), str(data.get("started")))


def expired(context: ReleaseContext, lease: Lease) -> bool:
    """Tell whether a lease ran out without being renewed."""
    return _now(context) > lease.expires + SLACK


def alive(context: ReleaseContext, lease: Lease | None) -> bool:
    """Tell whether a lock is held by somebody who may still be at work."""
    return lease is not None and not dead(lease.holder) and not expired(context, lease)


async def _acquire(context: ReleaseContext, me: Holder, say: Say, wait: float) -> Lease:
    """Take the lock: free, dead, or run out; give up once its holder lived for the wait's time."""
    deadline = context.clock.monotonic() + wait
    while True:
        seen = await _vacant(context, say, wait, deadline)
        if seen is not None:
            say(f"taking over from {told(seen)}: that process is dead")
        lease = Lease(token=uuid.uuid4().hex, expires=_expiry(context), holder=me.data())
        if await records.take(context.aws, context.outputs.releases_table, lease, old=seen):
            return lease
        # Somebody was faster: look who.


async def _vacant(context: ReleaseContext, say: Say, wait: float, deadline: float) -> Lease | None:
    """Return the lock once nobody living holds it: None, or a dead process's lease.

    Raises `LockedError` if its holder shows a sign of life after the deadline.
    """
    first: Lease | None = None
    announced = ""
    while True:
        seen = await records.lease(context.aws, context.outputs.releases_table)
        if seen is None or not alive(context, seen):
            return seen
        if seen.token != announced:
            doing = f"waiting up to {wait:g} s" if wait else "looking whether it still runs"
            say(f"the environment is locked by {told(seen)}; {doing}")
        announced, first = seen.token, first or seen
        lives = (seen.token, seen.expires) != (first.token, first.expires)
        if lives and context.clock.monotonic() >= deadline:
            raise _locked(context, seen)
        await context.clock.sleep(LOOK)


def _locked(context: ReleaseContext, lease: Lease) -> LockedError:
    env = f"--env {context.environment.name}"
    return LockedError(
        f"{context.environment.name} is locked by {told(lease)}",
        hint=f"wait for it: --wait SECONDS; or look: acso status {env}, acso unlock {env}",
    )


async def _keep(context: ReleaseContext, lease: Lease) -> str:
    """Renew the lease until it is lost; return how."""
    table = context.outputs.releases_table
    while True:
        await context.clock.sleep(BEAT)
        renewed = Lease(token=lease.token, expires=_expiry(context), holder=lease.holder)
        try:
            if not await records.take(context.aws, table, renewed, old=lease):
                return f"another process took the lock of {context.environment.name} over"
            lease = renewed
        except AwsError as error:
            # One call may fail; what counts is whether the lease can still be ours.
            if _now(context) > lease.expires:
                return f"the lock of {context.environment.name} could not be renewed: {error}"


def _now(context: ReleaseContext) -> float:
    return context.clock.now().timestamp()


def _expiry(context: ReleaseContext) -> float:
    return round(_now(context) + LEASE, 3)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())  # a container's user may have no name
