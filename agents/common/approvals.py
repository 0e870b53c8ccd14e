"""Approvals by people: the supervisor writes them, and who acts on one reads it again."""

from datetime import datetime
from typing import Literal

from agents.common.clock import Clock
from agents.common.store.state import Collection, Stored, Table

#: Seconds that an approval waits for a person: shortest, default and longest.
SHORTEST, DEFAULT, LONGEST = 1, 300, 86_400


class Approval(Stored):
    """A question to a person; its decision is final."""

    id: str
    workflow: str
    task: str
    subject: str  # what the approved task may act on
    reason: str
    risk: float
    requested: datetime
    deadline: datetime
    status: Literal["pending", "approved", "denied", "expired"] = "pending"
    decided_by: str = ""  # a person, or "deadline"
    decided: datetime | None = None
    comment: str = ""


def approvals(table: Table, clock: Clock) -> Collection[Approval]:
    """Return the approvals."""
    return Collection(table=table, clock=clock, agent="supervisor", kind="approval", model=Approval)


def settled(approval: Approval, now: datetime) -> Approval:
    """Return an approval as it is now: after its deadline, a pending one has expired."""
    if approval.status != "pending" or now < approval.deadline:
        return approval
    return approval.model_copy(
        update={"status": "expired", "decided_by": "deadline", "decided": approval.deadline}
    )
