"""The life of a ticket: opened, answered, resolved, escalated when a clock runs out; pure."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from agents.service_orchestration import logic, sla
from agents.service_orchestration.state import Escalation, Ticket

#: Who gets a ticket whose clock ran out.
ESCALATES_TO: dict[sla.Clock, str] = {
    "first_response": "team_lead",
    "resolution": "service_manager",
}


def opened(
    id_: str, title: str, description: str, given: logic.Ticket, zone: str, now: datetime
) -> Ticket:
    """Return a new ticket with its deadlines."""
    found = logic.triage(given)
    always = sla.around_the_clock(found.sla.level, found.priority)
    response = timedelta(minutes=found.sla.first_response_minutes)
    resolution = timedelta(hours=found.sla.resolution_hours)
    return Ticket(
        id=id_,
        title=title,
        description=description,
        level=found.sla.level,
        zone=zone,
        opened=now,
        category=found.category,
        urgency=found.urgency,
        priority=found.priority,
        team=found.team,
        first_response_due=sla.due(now, response, ZoneInfo(zone), always=always),
        resolution_due=sla.due(now, resolution, ZoneInfo(zone), always=always),
    )


def looked_at(ticket: Ticket, now: datetime) -> Ticket:
    """Return a ticket with the escalations of clocks that have run out; each happens once."""
    clocks: tuple[tuple[sla.Clock, datetime, datetime | None], ...] = (
        ("first_response", ticket.first_response_due, ticket.answered or ticket.resolved),
        ("resolution", ticket.resolution_due, ticket.resolved),
    )
    known = {escalation.clock for escalation in ticket.escalations}
    new = [
        Escalation(clock=clock, due=due, found=now, to=ESCALATES_TO[clock])
        for clock, due, stopped in clocks
        if clock not in known and (stopped or now) > due
    ]
    if not new:
        return ticket
    return ticket.model_copy(update={"escalations": (*ticket.escalations, *new)})


def answered(ticket: Ticket, now: datetime) -> Ticket:
    """Return a ticket after the first response; unchanged if there was one."""
    ticket = looked_at(ticket, now)
    if ticket.status != "open":
        return ticket
    return ticket.model_copy(update={"status": "answered", "answered": now})


def resolved(ticket: Ticket, now: datetime) -> Ticket:
    """Return a resolved ticket; unchanged if it was."""
    ticket = looked_at(ticket, now)
    if ticket.status == "resolved":
        return ticket
    return ticket.model_copy(update={"status": "resolved", "resolved": now})
