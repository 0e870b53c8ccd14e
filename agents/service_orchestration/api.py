"""The HTTP API of service orchestration."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from agents.service_orchestration.logic import LEVELS, Level, Ticket, Tier, Triage, triage

router = APIRouter()


class Request(BaseModel, frozen=True, extra="forbid"):
    """A client's ticket, with the client's contract (tier) or level of service."""

    title: str = Field(min_length=1, max_length=500)
    description: str = Field(default="", max_length=20_000)
    client: Tier | Level = "standard"
    urgency: float | None = Field(default=None, ge=0, le=1)


@router.post("/triage")
async def triage_ticket(request: Request) -> Triage:
    """Return a ticket's category, priority, deadlines and team."""
    text = f"{request.title}\n{request.description}"
    return triage(Ticket(text=text, level=LEVELS[request.client], urgency=request.urgency))
