"""The HTTP API of service orchestration."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, BaseModel, Field

from agents.common.callers.auth import Who
from agents.common.errors import missing
from agents.common.idempotency import Key, Keyed, again, create_once
from agents.common.runtime import Parts, Runtime
from agents.common.store.state import new_id
from agents.service_orchestration import logic
from agents.service_orchestration import tickets as life
from agents.service_orchestration.logic import LEVELS, Level, TaskKind, Tier, Triage, triage
from agents.service_orchestration.state import ServiceTask, Ticket, tasks, tickets

router = APIRouter()

Limit = Annotated[int, Query(ge=1, le=100)]
After = Annotated[str, Query(max_length=64, pattern="^[0-9a-z]*$")]


def _zone(name: str) -> str:
    if name not in available_timezones():
        message = f"{name!r} is not a time zone, such as Europe/Berlin"
        raise ValueError(message)
    return ZoneInfo(name).key


class Request(BaseModel, frozen=True, extra="forbid"):
    """A client's ticket, with the client's contract (tier) or level of service."""

    title: str = Field(min_length=1, max_length=500)
    description: str = Field(default="", max_length=20_000)
    client: Tier | Level = "standard"
    urgency: float | None = Field(default=None, ge=0, le=1, strict=True)


class NewTicket(Request, frozen=True, extra="forbid"):
    """A client's ticket; business hours are those of its time zone."""

    zone: Annotated[str, Field(max_length=64), AfterValidator(_zone)] = "UTC"


class NewTask(BaseModel, frozen=True, extra="forbid"):
    """A service task; without a kind, its description decides."""

    description: str = Field(min_length=1, max_length=2000)
    kind: TaskKind | None = None
    ticket: str = Field(default="", max_length=64, pattern="^[0-9a-z]*$")


class TicketPage(BaseModel):
    """Some tickets, the newest first; `next` is the `after` of the next page."""

    items: tuple[Ticket, ...]
    next: str | None


class TaskPage(BaseModel):
    """Some service tasks, the newest first; `next` is the `after` of the next page."""

    items: tuple[ServiceTask, ...]
    next: str | None


@router.post("/triage")
async def triage_ticket(request: Request) -> Triage:
    """Return a ticket's category, priority, deadlines and team; nothing is stored."""
    return triage(_ticket(request))


@router.post("/tickets", status_code=201, responses=again(Ticket))
async def open_ticket(
    new: NewTicket, caller: Who, parts: Parts, response: Response, key: Key = None
) -> Ticket:
    """Open a ticket; its clocks start now."""
    now = parts.clock.now()
    id_ = new_id(now)
    ticket = life.opened(id_, new.title, new.description, _ticket(new), new.zone, now)
    name = f"{caller.role}:{caller.name}"
    content = new.model_dump_json()
    keyed = Keyed(caller=name, operation="POST /tickets", key=key, content=content)
    document, created = await create_once(tickets(parts), keyed, id_, ticket)
    response.status_code = 201 if created else 200
    return document.value


@router.get("/tickets")
async def list_tickets(parts: Parts, limit: Limit = 20, after: After = "") -> TicketPage:
    """List tickets, the newest first; clocks that have run out escalate them."""
    page = await tickets(parts).page(limit=limit, after=after)
    items = [await _look(item, parts) for item in page.items]
    return TicketPage(items=tuple(items), next=page.next)


@router.get("/tickets/{ticket_id}")
async def get_ticket(ticket_id: str, parts: Parts) -> Ticket:
    """Return a ticket; a clock that has run out escalates it."""
    return await _change(ticket_id, parts, life.looked_at)


@router.post("/tickets/{ticket_id}/response")
async def respond(ticket_id: str, parts: Parts) -> Ticket:
    """Record the first response, which stops its clock."""
    return await _change(ticket_id, parts, life.answered)


@router.post("/tickets/{ticket_id}/resolution")
async def resolve(ticket_id: str, parts: Parts) -> Ticket:
    """Record the resolution, which stops all clocks."""
    return await _change(ticket_id, parts, life.resolved)


@router.post("/tasks", status_code=201, responses=again(ServiceTask))
async def record_task(
    new: NewTask, caller: Who, parts: Parts, response: Response, key: Key = None
) -> ServiceTask:
    """Record a service task for who or what does it."""
    now = parts.clock.now()
    name = f"{caller.role}:{caller.name}"
    task = ServiceTask(
        id=new_id(now),
        kind=new.kind or logic.kind_of(new.description),
        description=new.description,
        ticket=new.ticket,
        requested=now,
        requested_by=name,
    )
    content = new.model_dump_json()
    keyed = Keyed(caller=name, operation="POST /tasks", key=key, content=content)
    document, created = await create_once(tasks(parts), keyed, task.id, task)
    response.status_code = 201 if created else 200
    return document.value


@router.get("/tasks")
async def list_tasks(parts: Parts, limit: Limit = 20, after: After = "") -> TaskPage:
    """List service tasks, the newest first."""
    page = await tasks(parts).page(limit=limit, after=after)
    return TaskPage(items=page.items, next=page.next)


def _ticket(request: Request) -> logic.Ticket:
    text = f"{request.title}\n{request.description}"
    return logic.Ticket(text=text, level=LEVELS[request.client], urgency=request.urgency)


async def _look(ticket: Ticket, parts: Runtime) -> Ticket:
    """Return a ticket as it is now; an escalation is stored."""
    if life.looked_at(ticket, parts.clock.now()) == ticket:
        return ticket
    return await _change(ticket.id, parts, life.looked_at)


async def _change(id_: str, parts: Runtime, change: Callable[[Ticket, datetime], Ticket]) -> Ticket:
    now = parts.clock.now()
    document = await tickets(parts).update(id_, lambda ticket: change(ticket, now))
    if document is None:
        raise missing("ticket", id_)
    return document.value
