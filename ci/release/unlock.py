"""Break an environment's lock that its holder cannot release."""

from dataclasses import dataclass
from typing import Any

from ci.aws import records
from ci.aws.records import Lease
from ci.errors import LockedError
from ci.release.model import ReleaseContext
from ci.release.records import lock


@dataclass(frozen=True, kw_only=True)
class UnlockResult:
    """The lock that was broken; `lease` is None if the environment was not locked."""

    environment: str
    lease: Lease | None
    was_alive: bool = False

    def text(self) -> str:
        """Return the result for people."""
        if self.lease is None:
            return f"{self.environment} is not locked"
        state = "still alive" if self.was_alive else "dead"
        return (
            f"broke the lock of {self.environment}: {lock.describe(self.lease)} ({state}, token "
            f"{self.lease.token}); next: ./acso status --env {self.environment}"
        )

    def data(self) -> dict[str, Any]:
        """Return the result for machines."""
        found = self.lease
        return {
            "environment": self.environment,
            "broken": found is not None,
            "token": found.token if found else "",
            "holder": dict(found.holder) if found else {},
            "was_alive": self.was_alive,
        }


async def unlock(context: ReleaseContext, *, force: bool = False) -> UnlockResult:
    """Break the lock; a holder that still runs stops at its next renewal of the lease.

    Without `force`, this watches for up to `lock.TAKEOVER_SECONDS` whether the lease is renewed.

    Its release record stays; the next `deploy` or `rollback` takes it over.

    Args:
        context: the environment.
        force: break the lock also if its holder seems to be alive.

    Raises:
        LockedError: the holder is alive, or the lock has just changed hands.
    """
    table = context.outputs.releases_table
    found = await lock.current(context)
    if found is None:
        return UnlockResult(environment=context.env.name, lease=None)
    lives = lock.is_active(context, found) if force else await lock.is_renewed(context, found)
    if lives and not force:
        who = f"{lock.describe(found)} (token {found.token})"
        message = f"{context.env.name} is locked by {who}, and its holder is alive"
        hint = f"wait for it: ./acso deploy --env {context.env.name} --wait SECONDS; or --force"
        raise LockedError(message, hint=hint)
    broken = await (
        records.release_lease(context.aws, table, found.token)
        if force  # also if it was renewed since it was read
        else records.break_lease(context.aws, table, found)
    )
    if not broken:
        message = f"the lock of {context.env.name} has just changed hands"
        raise LockedError(message, hint=f"./acso status --env {context.env.name}")
    return UnlockResult(environment=context.env.name, lease=found, was_alive=lives)
