"""The HTTP API of the threat hunter."""

from dataclasses import dataclass

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, Field

from agents.threat_hunter.logic import Entry, Finding, analyze

router = APIRouter()


class LogEntry(BaseModel, frozen=True):
    """A log entry with CloudTrail's field names; other fields are ignored."""

    event: str = Field(alias="eventName", min_length=1, max_length=256)
    source: str = Field(alias="sourceIPAddress", min_length=1, max_length=256)
    time: AwareDatetime = Field(alias="eventTime")
    error: str | None = Field(default=None, alias="errorCode", max_length=256)
    sent: int = Field(default=0, alias="bytesTransferred", ge=0)
    destination: str | None = Field(default=None, alias="destinationIPAddress", max_length=256)


class Logs(BaseModel, frozen=True, extra="forbid"):
    """Entries to analyze together, and the addresses of known attackers."""

    # fail_fast here and in other agents: without it, one request could cause a million errors.
    entries: tuple[LogEntry, ...] = Field(max_length=1000, fail_fast=True)
    malicious_addresses: frozenset[str] = Field(
        default=frozenset(), max_length=10_000, fail_fast=True
    )


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """The findings, and the number of entries analyzed."""

    entries: int
    findings: tuple[Finding, ...]


# Not async, so that it runs in a worker thread: a thousand entries would block the event loop.
@router.post("/analyze")
def analysis(logs: Logs) -> Analysis:
    """Find signs of attacks in log entries."""
    entries = [Entry(**entry.model_dump()) for entry in logs.entries]
    return Analysis(entries=len(entries), findings=analyze(entries, logs.malicious_addresses))
