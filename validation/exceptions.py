"""Which findings are accepted: by acso.toml for an environment, or because nothing can be read."""

import datetime
from collections.abc import Collection

from ci.aws.session import EMBEDDED_ACCOUNT
from ci.aws.target import Target
from ci.config import Accepted, nearest
from ci.errors import UsageError
from validation.embedded import NOT_THERE
from validation.model import Status

#: The embedded AWS never changes between two versions of the product, so nothing expires.
NEVER = "9999-12-31"


def accepted(target: Target, account: str, check: str, status: Status) -> Accepted | None:
    """Return the exception that holds for a check's finding today, None if none does.

    Args:
        target: the environment; its exceptions are in acso.toml.
        account: the account that the credentials belong to; the embedded AWS has its own list.
        check: the check's id.
        status: what it found; PASS and SKIP need no exception.
    """
    if status not in (Status.FAIL, Status.NOT_EXAMINED):
        return None
    found = target.env.exceptions.get(check)
    if found and found.accepts == status and found.last_day >= today():
        return found
    if account == EMBEDDED_ACCOUNT and status is Status.NOT_EXAMINED and check in NOT_THERE:
        reason = NOT_THERE[check]
        return Accepted(accepts=status, owner="embedded AWS", reason=reason, expires=NEVER)
    return None


def expired(target: Target, check: str) -> str:
    """Return what to say of an exception that no longer holds; empty if there is none."""
    found = target.env.exceptions.get(check)
    if found is None or found.last_day >= today():
        return ""
    return f"its exception ({found.reason}; {found.owner}) expired on {found.expires}"


def check_ids(target: Target, known: Collection[str]) -> None:
    """Raise `UsageError` for an exception in acso.toml whose check does not exist."""
    for check in target.env.exceptions:
        if check not in known:
            message = f"environments.{target.env.name}.exceptions: there is no check {check!r}"
            raise UsageError(message, hint=nearest(check, sorted(known)))


def today() -> datetime.date:
    """Return the day in UTC."""
    return datetime.datetime.now(datetime.UTC).date()
