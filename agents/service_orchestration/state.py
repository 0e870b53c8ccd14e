"""What service orchestration stores: tickets with their clocks, and service tasks."""

from datetime import datetime
from typing import Literal

from agents.common.runtime import Runtime
from agents.common.store.state import Collection, Stored
from agents.service_orchestration.logic import Category, Level, Priority, TaskKind, Team
from agents.service_orchestration.sla import Clock


class Escalation(Stored):
    """A clock that ran out: when, and when it was found."""

    clock: Clock
    due: datetime
    found: datetime
    to: str


class Ticket(Stored):
    """A client's ticket."""

    id: str
    title: str
    description: str
    level: Level
    zone: str
    opened: datetime
    category: Category
    urgency: float
    priority: Priority
    team: Team
    first_response_due: datetime
    resolution_due: datetime
    status: Literal["open", "answered", "resolved"] = "open"
    answered: datetime | None = None
    resolved: datetime | None = None
    escalations: tuple[Escalation, ...] = ()


class ServiceTask(Stored):
    """A task of a service desk, recorded for who or what does it."""

    id: str
    kind: TaskKind
    description: str
    ticket: str
    requested: datetime
    requested_by: str
    status: Literal["recorded"] = "recorded"


def tickets(runtime: Runtime) -> Collection[Ticket]:
    """Return the tickets."""
    return runtime.collection("ticket", Ticket)


def tasks(runtime: Runtime) -> Collection[ServiceTask]:
    """Return the service tasks."""
    return runtime.collection("task", ServiceTask)
