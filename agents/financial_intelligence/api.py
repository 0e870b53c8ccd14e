"""The HTTP API of financial intelligence."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal

import anyio
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from agents.common.errors import ProblemError
from agents.common.runtime import Parts, Runtime
from agents.common.store.state import ConflictError, digest
from agents.financial_intelligence import logic, records, reports
from agents.financial_intelligence.reports import Report, ServiceAnomaly
from agents.financial_intelligence.state import MonthlyCosts, costs
from agents.financial_intelligence.statistics import METHOD

router = APIRouter()

Name = Annotated[str, Field(min_length=1, max_length=256)]
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Client(_Figures):
    """A client: share of what they bought in use, satisfaction 1 to 5, months until renewal."""

    name: Name
    usage: Share
    satisfaction: float = Field(ge=1, le=5, strict=True)
    renewal_months: Amount


class Licence(_Figures):
    """A product: share of its licences in use, cost a month."""

    product: Name
    utilisation: Share
    monthly_cost: Amount


class Process(_Figures):
    """Manual work: tasks a month, complexity 0 to 1, return of automation over its cost."""

    name: Name
    manual_tasks: int = Field(ge=0, strict=True)
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


#: Largest body of `/costs`.
MAX_COSTS = 16 * 1024 * 1024
#: Months that anomalies and forecasts look at, up to and with the one asked for.
MONTHS = 3
#: Cells that one request may have, and that are stored at once.
MAX_CELLS, CONCURRENT = 2000, 16
PAGE = 1000

Month = Annotated[str, Query(pattern="^20[0-9]{2}-(0[1-9]|1[0-2])$")]
Currency = Annotated[str, Query(pattern="^[A-Z]{3}$")]


class Stored(BaseModel):
    """What was stored of a body of records."""

    records: int
    services: int
    months: tuple[str, ...]
    invalid: int
    problems: tuple[str, ...]


class Anomalies(BaseModel):
    """Unusual days, the newest first, and the method that found them."""

    method: str
    items: tuple[ServiceAnomaly, ...]


@router.post(
    "/costs",
    max_body_size=MAX_COSTS,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "text/csv": {"schema": {"type": "string"}},
                "application/json": {"schema": {"type": "array"}},
            },
        }
    },
)
async def store(request: Request, parts: Parts) -> Stored:
    """Store cost records: `text/csv` with a line of column names, or a JSON list of objects.

    Columns are those of AWS Cost and Usage Reports, or `date`, `cost`, `service`, `account` and
    `currency`. For each account, service and day in it, a body replaces what was stored before:
    reports are delivered again and again with more days, and the same report twice counts once.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("text/csv", "application/json"):
        raise ProblemError(415, "the content type is text/csv or application/json")
    body = await request.body()
    try:
        text = body.decode("utf-8-sig")
        found = await anyio.to_thread.run_sync(
            lambda: records.read(text, is_csv=kind == "text/csv")
        )
    except (records.RecordsError, UnicodeDecodeError) as error:
        raise ProblemError(422, str(error)) from error
    if len(found.cells) > MAX_CELLS:
        message = f"a body may have {MAX_CELLS} services by account and month; split it"
        raise ProblemError(413, message)
    await _store(found, parts)
    return Stored(
        records=found.rows,
        services=len({cell.service for cell in found.cells}),
        months=tuple(sorted({cell.month for cell in found.cells})),
        invalid=found.invalid,
        problems=found.problems,
    )


@router.get("/summary")
async def summary(parts: Parts, currency: Currency = "USD") -> Report:
    """Return the report of the current month."""
    return await _report(parts.clock.now().strftime("%Y-%m"), currency, parts)


@router.get("/anomalies")
async def anomalies(parts: Parts, month: Month, currency: Currency = "USD") -> Anomalies:
    """Return the days of a month, and of the months before it, with unusual costs."""
    found = reports.unusual(await _series(month, currency, parts))
    return Anomalies(method=METHOD, items=tuple(found))


@router.get(
    "/reports/{month}",
    response_model=Report,
    responses={200: {"content": {"text/markdown": {}}}},
)
async def monthly(
    month: str,
    parts: Parts,
    currency: Currency = "USD",
    format_: Annotated[Literal["json", "markdown"], Query(alias="format")] = "json",
) -> Report | Response:
    """Return the report of a month, such as 2026-11, as JSON or Markdown."""
    if not _MONTH.fullmatch(month):
        raise ProblemError(422, f"{month!r} is not a month, such as 2026-11")
    found = await _report(month, currency, parts)
    if format_ == "markdown":
        return Response(reports.markdown(found), media_type="text/markdown")
    return found


_MONTH = re.compile("20[0-9]{2}-(0[1-9]|1[0-2])")


async def _report(month: str, currency: str, parts: Runtime) -> Report:
    return reports.report(await _series(month, currency, parts), month, currency)


async def _series(month: str, currency: str, parts: Runtime) -> reports.Series:
    found: list[MonthlyCosts] = []
    for _ in range(MONTHS):
        after = ""
        while True:
            page = await costs(parts, month).page(limit=PAGE, after=after, newest=False)
            found += page.items
            if page.next is None:
                break
            after = page.next
        month = reports.before(month)
    return reports.series(found, currency)


async def _store(found: records.Records, parts: Runtime) -> None:
    limit = anyio.Semaphore(CONCURRENT)

    async def one(cell: records.Cell) -> None:
        async with limit:
            await _merge(cell, {day: found.cells[cell][day] for day in found.cells[cell]}, parts)

    async with anyio.create_task_group() as group:
        for cell in found.cells:
            group.start_soon(one, cell)


async def _merge(cell: records.Cell, days: dict[str, Decimal], parts: Runtime) -> None:
    """Replace the days of a cell that a body has."""
    collection = costs(parts, cell.month)
    id_ = digest(cell.account, cell.service, cell.currency)[:24]
    amounts = {day: float(cost) for day, cost in days.items()}
    new = MonthlyCosts(
        account=cell.account, service=cell.service, currency=cell.currency, days=amounts
    )

    def merged(old: MonthlyCosts) -> MonthlyCosts:
        return old.model_copy(update={"days": {**old.days, **amounts}})

    if await collection.update(id_, merged) is None:
        try:
            await collection.create(id_, new)
        except ConflictError:
            await collection.update(id_, merged)
