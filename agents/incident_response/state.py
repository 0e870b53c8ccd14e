"""What incident response stores: incidents with their steps and timeline, and intended actions."""

from datetime import datetime
from typing import Literal

from agents.common.runtime import Runtime
from agents.common.store.state import Collection, Stored
from agents.incident_response.logic import Action, Factor, Kind, Severity

StepStatus = Literal["planned", "started", "done", "failed", "undone"]


class Step(Stored):
    """One action against one system."""

    id: str
    action: Action
    target: str
    reversible: bool
    status: StepStatus = "planned"
    note: str = ""


class Entry(Stored):
    """One line of the timeline."""

    time: datetime
    who: str
    what: str


class Incident(Stored):
    """An incident, from its opening to its resolution."""

    id: str
    finding: str = ""  # id, if it was opened from one
    type: Kind
    severity: Severity
    systems: tuple[str, ...]
    opened: datetime
    strategy: str
    risk: float
    level: Severity
    factors: tuple[Factor, ...] = ()
    approval_required: bool
    escalation_required: bool
    status: Literal["open", "containing", "contained", "resolved"] = "open"
    approval: str = ""
    undone: int = 0  # how often the containment was undone
    steps: tuple[Step, ...]
    timeline: tuple[Entry, ...] = ()


class Intent(Stored):
    """An action that would be taken; by default nothing else is done."""

    incident: str
    step: str
    action: Action
    target: str
    undo: bool
    time: datetime


def incidents(runtime: Runtime) -> Collection[Incident]:
    """Return the incidents."""
    return runtime.collection("incident", Incident)


def intents(runtime: Runtime) -> Collection[Intent]:
    """Return the recorded intents."""
    return runtime.collection("intent", Intent)
