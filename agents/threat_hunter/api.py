"""What the threat hunter answers over HTTP."""

from dataclasses import dataclass

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, Field

from agents.threat_hunter.logic import Entry, Finding, analyze

router = APIRouter()


class LogEntry(BaseModel, frozen=True):
    """An entry named as CloudTrail names it; fields that no rule looks at may be there, too."""

    event: str = Field(alias="eventName", min_length=1, max_length=256)
    source: str = Field(alias="sourceIPAddress", min_length=1, max_length=256)
    time: AwareDatetime = Field(alias="eventTime")
    error: str | None = Field(default=None, alias="errorCode", max_length=256)
    sent: int = Field(default=0, alias="bytesTransferred", ge=0)
    destination: str | None = Field(default=None, alias="destinationIPAddress", max_length=256)


class Logs(BaseModel, frozen=True, extra="forbid"):
    """Entries to look at together, and the addresses known to attack."""

    # fail_fast here and in other agents: an error for each of a list's items could be a million.
    entries: tuple[LogEntry, ...] = Field(max_length=1000, fail_fast=True)
    malicious_addresses: frozenset[str] = Field(
        default=frozenset(), max_length=10_000, fail_fast=True
    )


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What was found in how many entries."""

    entries: int
    findings: tuple[Finding, ...]


# Not async: the event loop should not stand still for as long as a thousand entries take.
@router.post("/analyze")
def analysis(logs: Logs) -> Analysis:
    """Look for signs of attacks in log entries."""
    entries = [Entry(**entry.model_dump()) for entry in logs.entries]
    return Analysis(entries=len(entries), findings=analyze(entries, logs.malicious_addresses))
