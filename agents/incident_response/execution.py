"""Executes and reverts the steps of an incident; each is recorded before and after it."""

from collections.abc import Callable

from agents.common.errors import missing
from agents.common.runtime import Runtime
from agents.common.store.state import digest
from agents.incident_response import containment
from agents.incident_response.state import Incident, Step, StepStatus, incidents
from agents.incident_response.targets import Target


async def found(parts: Runtime, id_: str) -> Incident:
    """Return an incident; raises `ProblemError` 404."""
    document = await incidents(parts).get(id_)
    if document is None:
        raise missing("incident", id_)
    return document.value


async def execute(
    parts: Runtime, target: Target, incident: Incident, who: str, approval: str
) -> Incident:
    """Execute the open steps; one that another process began is executed again, with one effect."""
    now = parts.clock.now
    incident = await _change(
        parts, incident.id, lambda i: containment.begun(i, who, approval, now())
    )
    while (step := containment.next_step(incident)) is not None:
        incident = await _mark(parts, incident, step, "started", who)
        try:
            await target.execute(incident, step, _round(incident), undo=False)
        except OSError as error:
            incident = await _mark(parts, incident, step, "failed", who, str(error))
            continue
        incident = await _mark(parts, incident, step, "done", who)
    return await _change(parts, incident.id, lambda i: containment.ended(i, who, now()))


async def revert(parts: Runtime, target: Target, incident: Incident, who: str) -> Incident:
    """Revert the reversible steps that were done, the last one first."""
    while (step := containment.next_undo(incident)) is not None:
        await target.execute(incident, step, _round(incident), undo=True)
        incident = await _mark(parts, incident, step, "undone", who)
    now = parts.clock.now()
    return await _change(parts, incident.id, lambda i: containment.reopened(i, who, now))


async def _mark(
    parts: Runtime, incident: Incident, step: Step, status: StepStatus, who: str, note: str = ""
) -> Incident:
    now = parts.clock.now()
    return await _change(
        parts, incident.id, lambda i: containment.marked(i, step.id, status, who, now, note)
    )


async def _change(parts: Runtime, id_: str, change: Callable[[Incident], Incident]) -> Incident:
    document = await incidents(parts).update(id_, change)
    if document is None:
        raise missing("incident", id_)
    return document.value


def _round(incident: Incident) -> str:
    """Return what tells this containment from one after an undo: how often that happened."""
    return digest(str(incident.undone))[:8]
