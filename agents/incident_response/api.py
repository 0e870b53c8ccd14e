"""The HTTP API of incident response."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, Field

from agents.incident_response.logic import Assessment, Incident, Kind, Severity, assess

router = APIRouter()

System = Annotated[str, Field(min_length=1, max_length=256)]


class Report(BaseModel, frozen=True, extra="forbid"):
    """An incident as reported; the default time is now."""

    type: Kind
    severity: Severity
    systems: tuple[System, ...] = Field(default=(), max_length=1000, fail_fast=True)
    time: AwareDatetime | None = None
    critical_system: bool = False
    impact_usd: float = Field(default=0.0, ge=0, allow_inf_nan=False)


@router.post("/assess")
async def assessment(report: Report) -> Assessment:
    """Return the recommended actions for an incident, and whether they need approval."""
    return assess(
        Incident(
            kind=report.type,
            severity=report.severity,
            systems=report.systems,
            time=report.time or datetime.now(UTC),
            critical_system=report.critical_system,
            impact=report.impact_usd,
        )
    )
