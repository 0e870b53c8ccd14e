"""The HTTP API of incident response."""

from datetime import datetime
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, Field, model_validator

from agents.common.approvals import approvals, settled
from agents.common.callers.auth import Person, Who
from agents.common.clock import Time
from agents.common.errors import ProblemError, missing
from agents.common.idempotency import Key, Keyed, again, create_once
from agents.common.runtime import Parts, Runtime
from agents.common.store.state import ConflictError, derived_id, new_id
from agents.incident_response import containment, logic
from agents.incident_response.execution import execute, found, revert
from agents.incident_response.logic import Assessment, Kind, Severity, assess
from agents.incident_response.state import Incident, Intent, incidents, intents
from agents.incident_response.targets import RecordIntent, Target

router = APIRouter()

System = Annotated[str, Field(min_length=1, max_length=256)]


class Report(BaseModel, frozen=True, extra="forbid"):
    """An incident as reported; the default time is now."""

    type: Kind
    severity: Severity
    systems: tuple[System, ...] = Field(default=(), max_length=1000, fail_fast=True)
    time: Time | None = None
    critical_system: bool = Field(default=False, strict=True)
    impact_usd: float = Field(default=0.0, ge=0, allow_inf_nan=False, strict=True)


class Finding(BaseModel, frozen=True):
    """A finding of the threat hunter; fields that are not needed are ignored."""

    id: str = Field(min_length=1, max_length=64, pattern="^[0-9a-z]+$")
    rule: str = Field(min_length=1, max_length=64)
    threat: Kind
    severity: Literal["info", "low", "medium", "high", "critical"]
    source: System
    first: Time


#: For OpenAPI: one of the two fields is an object, the other null or missing.
_EITHER: dict[str, Any] = {
    "oneOf": [
        {"required": [one], "properties": {one: {"type": "object"}, other: {"type": "null"}}}
        for one, other in (("finding", "report"), ("report", "finding"))
    ]
}


class NewIncident(BaseModel, frozen=True, extra="forbid", json_schema_extra=_EITHER):
    """What an incident is opened from: a finding, or a report."""

    finding: Finding | None = None
    report: Report | None = None

    @model_validator(mode="after")
    def _one(self) -> "NewIncident":
        if (self.finding is None) == (self.report is None):
            raise ValueError("either a finding or a report is required")
        return self


class Containment(BaseModel, frozen=True, extra="forbid"):
    """The approval of a containment, if its risk needs one."""

    approval: str | None = Field(default=None, min_length=1, max_length=64)


class Resolution(BaseModel, frozen=True, extra="forbid"):
    """Why an incident is resolved."""

    reason: str = Field(min_length=1, max_length=2000)


class IncidentPage(BaseModel):
    """Some incidents, the newest first; `next` is the `after` of the next page."""

    items: tuple[Incident, ...]
    next: str | None


class Intents(BaseModel):
    """The actions that are recorded for an incident."""

    items: tuple[Intent, ...]


@router.post("/assess")
async def assessment(report: Report, parts: Parts) -> Assessment:
    """Return the recommended actions for an incident, and whether they need approval."""
    return assess(_case(report, parts.clock.now()))


@router.post("/incidents", status_code=201, responses=again(Incident))
async def open_incident(
    new: NewIncident, caller: Who, parts: Parts, response: Response, key: Key = None
) -> Incident:
    """Open an incident; for a finding that has one, that one is returned."""
    name = f"{caller.role}:{caller.name}"
    incident = _opened(new, name, parts.clock.now())
    keyed = Keyed(caller=name, operation="POST /incidents", key=key, content=new.model_dump_json())
    try:
        document, created = await create_once(incidents(parts), keyed, incident.id, incident)
    except ConflictError:
        known = await incidents(parts).get(incident.id)
        if known is None:
            raise
        document, created = known, False
    response.status_code = 201 if created else 200
    return document.value


@router.get("/incidents")
async def list_incidents(
    parts: Parts,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str, Query(max_length=64, pattern="^[0-9a-z]*$")] = "",
) -> IncidentPage:
    """List incidents, the newest first."""
    page = await incidents(parts).page(limit=limit, after=after)
    return IncidentPage(items=page.items, next=page.next)


@router.get("/incidents/{incident_id}")
async def get_incident(incident_id: str, parts: Parts) -> Incident:
    """Return an incident with its steps and timeline."""
    return await found(parts, incident_id)


@router.get("/incidents/{incident_id}/intents")
async def get_intents(incident_id: str, parts: Parts) -> Intents:
    """Return the actions that are recorded for an incident, in their order."""
    await found(parts, incident_id)
    items: list[Intent] = []
    after = f"{incident_id}."
    while True:
        page = await intents(parts).page(limit=100, after=after, newest=False)
        mine = [item for item in page.items if item.incident == incident_id]
        items += mine
        if page.next is None or len(mine) < len(page.items):
            return Intents(items=tuple(items))
        after = page.next


@router.post("/incidents/{incident_id}/containment")
async def contain(incident_id: str, request: Containment, caller: Who, parts: Parts) -> Incident:
    """Execute the steps of an incident; a repetition continues where the last one ended."""
    incident = await found(parts, incident_id)
    if incident.status in ("contained", "resolved"):
        return incident
    approval = incident.approval
    needed = incident.approval_required or request.approval is not None
    if needed and incident.status == "open":
        approval = await _approved(request.approval, incident, parts)
    return await execute(parts, _target(parts), incident, f"{caller.role}:{caller.name}", approval)


@router.post("/incidents/{incident_id}/undo")
async def undo(incident_id: str, who: Person, parts: Parts) -> Incident:
    """Revert the reversible steps that were done, the last one first; only people may."""
    incident = await found(parts, incident_id)
    if incident.status not in ("containing", "contained"):
        raise ProblemError(409, f"the incident is {incident.status}; nothing is contained")
    return await revert(parts, _target(parts), incident, f"{who.role}:{who.name}")


@router.post("/incidents/{incident_id}/resolution")
async def resolve(incident_id: str, resolution: Resolution, who: Person, parts: Parts) -> Incident:
    """Resolve an incident; only people may."""
    name, now = f"{who.role}:{who.name}", parts.clock.now()
    document = await incidents(parts).update(
        incident_id, lambda i: containment.resolved(i, name, resolution.reason, now)
    )
    if document is None:
        raise missing("incident", incident_id)
    return document.value


@router.get(
    "/incidents/{incident_id}/report",
    response_model=Incident,
    responses={200: {"content": {"text/markdown": {}}}},
)
async def report(
    incident_id: str,
    parts: Parts,
    format_: Annotated[Literal["json", "markdown"], Query(alias="format")] = "json",
    accept: Annotated[str, Header()] = "",
) -> Incident | Response:
    """Return the report of an incident as JSON or, for `format=markdown`, as Markdown."""
    incident = await found(parts, incident_id)
    if format_ == "markdown" or accept == "text/markdown":
        return Response(containment.markdown(incident), media_type="text/markdown")
    return incident


def _case(report: Report, now: datetime) -> logic.Incident:
    return logic.Incident(
        kind=report.type,
        severity=report.severity,
        systems=report.systems,
        time=report.time or now,
        critical_system=report.critical_system,
        impact=report.impact_usd,
    )


def _opened(new: NewIncident, who: str, now: datetime) -> Incident:
    finding = new.finding
    if finding is not None:
        # The same finding always gives the same id.
        id_ = derived_id(finding.first, "finding", finding.id)
        case = logic.Incident(
            kind=finding.threat,
            severity="low" if finding.severity == "info" else finding.severity,
            systems=(finding.source,),
            time=now,
        )
    else:
        id_, case = new_id(now), _case(cast("Report", new.report), now)
    result = assess(case)
    incident = Incident(
        id=id_,
        finding=finding.id if finding else "",
        type=case.kind,
        severity=case.severity,
        systems=case.systems,
        opened=now,
        strategy=result.strategy,
        risk=result.risk,
        level=result.level,
        factors=result.factors,
        approval_required=result.approval_required,
        escalation_required=result.escalation_required,
        steps=containment.steps(result, case.systems),
    )
    cause = f"finding {finding.id}, rule {finding.rule}" if finding else "a report"
    return containment.noted(incident, who, f"opened from {cause}", now)


def _target(parts: Runtime) -> Target:
    return RecordIntent(intents(parts), parts.clock)


async def _approved(id_: str | None, incident: Incident, parts: Runtime) -> str:
    """Return the approval of a containment, read from where the supervisor recorded it."""
    if id_ is None:
        detail = f"the risk is {incident.risk:g}: an approval is required"
        raise ProblemError(403, detail)
    document = await approvals(parts.table, parts.clock).get(id_)
    if document is None:
        raise ProblemError(403, f"there is no approval {id_}")
    approval = settled(document.value, parts.clock.now())
    if approval.status != "approved" or approval.subject != f"incident {incident.id}":
        detail = f"approval {id_} is {approval.status}, for {approval.subject}"
        raise ProblemError(403, detail)
    return id_
