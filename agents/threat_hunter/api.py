"""The HTTP API of the threat hunter."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from agents.common.callers.auth import Person
from agents.common.clock import Time
from agents.common.errors import ProblemError, missing
from agents.common.runtime import Parts
from agents.common.store.state import ConflictError
from agents.threat_hunter import events as shapes
from agents.threat_hunter import state
from agents.threat_hunter.hunt import Hunt, hunter, recent
from agents.threat_hunter.logic import Entry, Finding, analyze

router = APIRouter()


class LogEntry(BaseModel, frozen=True):
    """A log entry with CloudTrail's field names; other fields are ignored."""

    event: str = Field(alias="eventName", min_length=1, max_length=256)
    source: str = Field(alias="sourceIPAddress", min_length=1, max_length=256)
    time: Time = Field(alias="eventTime")
    error: str | None = Field(default=None, alias="errorCode", max_length=256)
    sent: int = Field(default=0, alias="bytesTransferred", ge=0, strict=True)
    destination: str | None = Field(default=None, alias="destinationIPAddress", max_length=256)


class Logs(BaseModel, frozen=True, extra="forbid"):
    """Entries to analyze together, and the addresses of known attackers."""

    # fail_fast here and in other agents: without it, one request could cause a million errors.
    entries: tuple[LogEntry, ...] = Field(max_length=1000, fail_fast=True)
    malicious_addresses: tuple[str, ...] = Field(default=(), max_length=10_000, fail_fast=True)


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
    return Analysis(
        entries=len(entries), findings=analyze(entries, frozenset(logs.malicious_addresses))
    )


#: Largest body of `/events` as it is sent; unpacked it may be larger (`events.MAX_BYTES`).
MAX_LOG = 64 * 1024 * 1024
#: Events between two turns of the event loop.
TURN = 2000


class Question(BaseModel, frozen=True, extra="forbid"):
    """Events to hunt in; without any, recent findings are returned."""

    events: tuple[dict[str, Any], ...] = Field(default=(), max_length=1000, fail_fast=True)
    hours: float = Field(default=24, gt=0, le=24 * 90, strict=True)


class FindingPage(BaseModel):
    """Some findings, the newest first; `next` is the `after` of the next page."""

    items: tuple[state.Finding, ...]
    next: str | None


class Addresses(BaseModel, frozen=True, extra="forbid"):
    """The addresses of known attackers."""

    addresses: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = Field(
        max_length=5000, fail_fast=True
    )


@router.post(
    "/events",
    max_body_size=MAX_LOG,
    openapi_extra={
        "requestBody": {
            "content": {
                "application/x-ndjson": {"schema": {"type": "string"}},
                "text/plain": {"schema": {"type": "string"}},
            }
        }
    },
)
async def log(request: Request, parts: Parts) -> Hunt:
    """Find attacks in JSON lines, gzipped if `Content-Encoding` says so, and in earlier events.

    A line is a CloudTrail record, a VPC flow (`srcaddr`, `dstaddr`, `bytes`, `start`, `end`) or an
    application's event (`event`, `source`, `time`). Repeated events count once.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise ProblemError(415, f"Content-Encoding {encoding} is not known; gzip is")
    hunt = await hunter(parts)
    number = 0
    try:
        async for line in shapes.lines(request.stream(), gzipped=encoding == "gzip"):
            number += 1
            if not line.strip():
                continue
            try:
                hunt.see(shapes.parse(line))
            except (ValueError, RecursionError) as error:
                hunt.problems.add(number, str(error)[:200])
            if number % TURN == 0:
                await parts.clock.sleep(0)
    except shapes.LogError as error:
        raise ProblemError(413 if "more than" in str(error) else 400, str(error)) from error
    return await hunt.end()


@router.post("/hunts")
async def hunts(question: Question, parts: Parts) -> Hunt:
    """Find attacks in the given events; without events, return the findings of recent hours."""
    if not question.events:
        since = parts.clock.now() - timedelta(hours=question.hours)
        found = await recent(parts, since, limit=50)
        return Hunt(events=0, findings=tuple(found), invalid=0, problems=(), skipped=0)
    hunt = await hunter(parts)
    for number, document in enumerate(question.events, 1):
        try:
            hunt.see(shapes.event(document))
        except ValueError as error:
            hunt.problems.add(number, str(error)[:200])
    return await hunt.end()


@router.get("/findings")
async def list_findings(
    parts: Parts,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str, Query(max_length=64, pattern="^[0-9a-z]*$")] = "",
) -> FindingPage:
    """List findings, the newest first."""
    page = await state.findings(parts).page(limit=limit, after=after)
    return FindingPage(items=page.items, next=page.next)


@router.get("/findings/{finding_id}")
async def get_finding(finding_id: str, parts: Parts) -> state.Finding:
    """Return a finding."""
    document = await state.findings(parts).get(finding_id)
    if document is None:
        raise missing("finding", finding_id)
    return document.value


@router.put("/intelligence", status_code=204)
async def intelligence(known: Addresses, _: Person, parts: Parts) -> None:
    """Replace the addresses of known attackers; only people may."""
    collection = state.intelligence(parts)
    value = state.Intelligence(addresses=known.addresses)
    if await collection.update("addresses", lambda _: value) is None:
        try:
            await collection.create("addresses", value)
        except ConflictError:
            await collection.update("addresses", lambda _: value)
