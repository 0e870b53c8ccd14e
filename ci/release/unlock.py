"""Breaking an environment's lock by hand, where its holder cannot give it back."""

from dataclasses import dataclass
from typing import Any

from ci.aws import records
from ci.aws.records import Lease
from ci.errors import LockedError
from ci.release.model import ReleaseContext
from ci.release.records import lock


@dataclass(frozen=True, kw_only=True)
class UnlockResult:
    """A lock that was broken: whose it was; None if there was none."""

    environment: str
    lease: Lease | None
    was_alive: bool = False

    def text(self) -> str:
        """Return it for people."""
        if self.lease is None:
            return f"{self.environment} is not locked"
        state = "still alive" if self.was_alive else "dead"
        return (
            f"broke the lock of {self.environment}: {lock.told(self.lease)} ({state}, token "
            f"{self.lease.token}); `acso status --env {self.environment}` tells what it left"
        )

    def data(self) -> dict[str, Any]:
        """Return it for machines."""
        found = self.lease
        return {
            "environment": self.environment,
            "broken": found is not None,
            "token": found.token if found else "",
            "holder": dict(found.holder) if found else {},
            "was_alive": self.was_alive,
        }


async def unlock(context: ReleaseContext, *, force: bool = False) -> UnlockResult:
    """Break the lock as it was seen; its holder notices at its next heartbeat, at the latest.

    What the holder wrote stays, and the next `deploy` or `rollback` takes that up.

    Args:
        context: the environment.
        force: also if the holder is alive, as far as can be told.

    Raises:
        LockedError: it is alive, or it changed hands in this moment.
    """
    table = context.outputs.releases_table
    found = await lock.current(context)
    lives = lock.alive(context, found)
    if found is None:
        return UnlockResult(environment=context.environment.name, lease=None)
    if lives and not force:
        left = found.expires + lock.SLACK - context.clock.now().timestamp()
        who = f"{lock.told(found)} (token {found.token})"
        message = (
            f"{context.environment.name} is locked by {who}, who is alive as far as can be told"
        )
        hint = f"wait: a dead holder's lock ends by itself in {left:.0f} s; --force breaks it now"
        raise LockedError(message, hint=hint)
    broken = await (
        records.give_back(context.aws, table, found.token)
        if force  # though renewed since it was seen
        else records.take_away(context.aws, table, found)
    )
    if not broken:
        message = f"the lock of {context.environment.name} changed hands in this moment"
        raise LockedError(message, hint=f"./acso status --env {context.environment.name}")
    return UnlockResult(environment=context.environment.name, lease=found, was_alive=lives)
