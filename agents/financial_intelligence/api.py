"""The HTTP API of financial intelligence."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from agents.financial_intelligence import logic

router = APIRouter()

Name = Annotated[str, Field(min_length=1, max_length=256)]
Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Client(_Figures):
    """A client: share of what they bought in use, satisfaction 1 to 5, months until renewal."""

    name: Name
    usage: Share
    satisfaction: float = Field(ge=1, le=5)
    renewal_months: Amount


class Licence(_Figures):
    """A product: share of its licences in use, cost a month."""

    product: Name
    utilisation: Share
    monthly_cost: Amount


class Process(_Figures):
    """Manual work: tasks a month, complexity 0 to 1, return of automation over its cost."""

    name: Name
    manual_tasks: int = Field(ge=0)
    complexity: Share
    expected_return: Amount


class Business(_Figures):
    """The figures to analyze."""

    clients: tuple[Client, ...] = Field(default=(), max_length=1000, fail_fast=True)
    licences: tuple[Licence, ...] = Field(default=(), max_length=1000, fail_fast=True)
    processes: tuple[Process, ...] = Field(default=(), max_length=1000, fail_fast=True)


@dataclass(frozen=True, kw_only=True)
class Opportunities:
    """The opportunities that were found."""

    opportunities: tuple[logic.Opportunity, ...]


@router.post("/opportunities")
async def opportunities(business: Business) -> Opportunities:
    """Find upsells, unused licences and work to automate."""
    return Opportunities(
        opportunities=logic.opportunities(
            [logic.Client(**client.model_dump()) for client in business.clients],
            [logic.Licence(**licence.model_dump()) for licence in business.licences],
            [logic.Process(**process.model_dump()) for process in business.processes],
        )
    )
