"""Summaries and monthly reports of costs; pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from agents.financial_intelligence.state import MonthlyCosts
from agents.financial_intelligence.statistics import METHOD, Forecast, anomalies, forecast

#: Days that a forecast is for.
AHEAD = 30


@dataclass(frozen=True, kw_only=True)
class ServiceAnomaly:
    """A day on which a service cost unusually much or little."""

    service: str
    day: date
    cost: float
    expected: float
    score: float | None


@dataclass(frozen=True, kw_only=True)
class ServiceCost:
    """What a service cost in a month, and in the one before."""

    service: str
    cost: float
    before: float


@dataclass(frozen=True, kw_only=True)
class Report:
    """The costs of a month. `currency` is that of all amounts."""

    month: str
    currency: str
    total: float
    before: float
    services: tuple[ServiceCost, ...]
    anomalies: tuple[ServiceAnomaly, ...]
    forecast: Forecast | None
    method: str = METHOD


Series = Mapping[str, Mapping[str, float]]  # costs by service and day


def series(costs: Iterable[MonthlyCosts], currency: str) -> dict[str, dict[str, float]]:
    """Return the costs in a currency, by service and day, of all accounts."""
    found: dict[str, dict[str, float]] = {}
    for item in costs:
        if item.currency != currency:
            continue
        days = found.setdefault(item.service, {})
        for day, cost in item.days.items():
            days[day] = days.get(day, 0.0) + cost
    return found


def report(costs: Series, month: str, currency: str) -> Report:
    """Return the report of a month, from its costs and those of the months before."""
    previous = before(month)
    services = [
        ServiceCost(service=name, cost=_sum(days, month), before=_sum(days, previous))
        for name, days in costs.items()
    ]
    listed = sorted((s for s in services if s.cost or s.before), key=lambda s: (-s.cost, s.service))
    found = [item for item in unusual(costs) if item.day.isoformat()[:7] == month]
    return Report(
        month=month,
        currency=currency,
        total=round(sum(s.cost for s in services), 2),
        before=round(sum(s.before for s in services), 2),
        services=tuple(listed),
        anomalies=tuple(found),
        forecast=forecast(_values(_total(costs)), AHEAD),
    )


def unusual(costs: Series) -> list[ServiceAnomaly]:
    """Return the unusual days of all services, the newest first."""
    found = [
        ServiceAnomaly(
            service=service,
            day=_first(days) + timedelta(days=item.day),
            cost=item.cost,
            expected=item.expected,
            score=item.score,
        )
        for service, days in costs.items()
        for item in anomalies(_values(days))
    ]
    return sorted(found, key=lambda item: (-item.day.toordinal(), item.service))


def before(month: str) -> str:
    """Return the month before a month."""
    first = date.fromisoformat(f"{month}-01")
    return (first - timedelta(days=1)).isoformat()[:7]


def markdown(found: Report) -> str:
    """Return a report for people."""
    rows = "\n".join(
        f"| {_plain(item.service)} | {item.cost:.2f} | {item.cost - item.before:+.2f} |"
        for item in found.services
    )
    days = "\n".join(
        f"- {item.day}: {_plain(item.service)} cost {item.cost:.2f}, expected {item.expected:.2f}"
        for item in found.anomalies
    )
    ahead = found.forecast
    expected = (
        f"{ahead.total:.2f} in {ahead.days} days ({ahead.low:.2f} to {ahead.high:.2f})"
        if ahead
        else "too few days for a forecast"
    )
    return (
        f"# Costs of {found.month}\n\n"
        f"- Total: {found.total:.2f} {_plain(found.currency)}\n"
        f"- The month before: {found.before:.2f}\n"
        f"- Forecast: {expected}\n\n"
        f"| service | cost | change |\n|---|---|---|\n{rows}\n\n"
        f"## Unusual days\n\n{days or 'None.'}\n\nMethod: {found.method}.\n"
    )


def _sum(days: Mapping[str, float], month: str) -> float:
    return round(sum(cost for day, cost in days.items() if day[:7] == month), 2)


def _total(costs: Series) -> dict[str, float]:
    total: dict[str, float] = {}
    for days in costs.values():
        for day, cost in days.items():
            total[day] = total.get(day, 0.0) + cost
    return total


def _values(days: Mapping[str, float]) -> list[float]:
    """Return the costs of consecutive days; a day without a record cost nothing."""
    if not days:
        return []
    first, last = _first(days), date.fromisoformat(max(days))
    count = (last - first).days + 1
    return [days.get((first + timedelta(days=place)).isoformat(), 0.0) for place in range(count)]


def _first(days: Mapping[str, float]) -> date:
    return date.fromisoformat(min(days))


def _plain(text: str) -> str:
    """Return text of others on one line, without what Markdown or HTML would interpret."""
    return "".join(
        f"\\{char}" if char in "\\`*_[]<>|#" else char if char.isprintable() else " "
        for char in text
    )
