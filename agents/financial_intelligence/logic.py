"""Opportunities to earn or save money, by three rules."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

#: An upsell: a client who uses most of what they bought, is satisfied, and renews soon.
UPSELL_USAGE = 0.8  # share of what was bought; more than this
UPSELL_SATISFACTION = 4.0  # on a scale from 1 to 5; more than this
UPSELL_MONTHS = 6  # until renewal; at most this
#: Too many licences: few are used, and they are expensive.
LICENCE_UTILISATION = 0.6  # share in use; less than this
LICENCE_COST = 1000.0  # a month; more than this
#: Work to automate: frequent, simple, and with a good return.
AUTOMATION_TASKS = 100  # done by hand a month; more than this
AUTOMATION_COMPLEXITY = 0.3  # from 0 to 1; less than this
AUTOMATION_RETURN = 2.0  # return over cost; more than this


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client: share of what they bought in use, satisfaction, months until renewal."""

    name: str
    usage: float
    satisfaction: float
    renewal_months: float


@dataclass(frozen=True, kw_only=True)
class Licence:
    """A product with monthly costs, and the share of its licences in use."""

    product: str
    utilisation: float
    monthly_cost: float


@dataclass(frozen=True, kw_only=True)
class Process:
    """Work that is done manually."""

    name: str
    manual_tasks: int
    complexity: float
    expected_return: float


@dataclass(frozen=True, kw_only=True)
class Opportunity:
    """One opportunity and its reason; `monthly_saving` is None if the figures do not show it."""

    kind: Literal["upsell", "licences", "automation"]
    subject: str
    reason: str
    monthly_saving: float | None = None


def opportunities(
    clients: Iterable[Client], licences: Iterable[Licence], processes: Iterable[Process]
) -> tuple[Opportunity, ...]:
    """Return what the rules find, the largest known saving first, then in the order given."""
    found = [
        *(_upsell(client) for client in clients if sells_more(client)),
        *(_fewer(licence) for licence in licences if wasted(licence)),
        *(_automate(process) for process in processes if worth_automating(process)),
    ]
    return tuple(sorted(found, key=lambda opportunity: -(opportunity.monthly_saving or 0.0)))


def sells_more(client: Client) -> bool:
    """Return whether a client is likely to buy more."""
    return (
        client.usage > UPSELL_USAGE
        and client.satisfaction > UPSELL_SATISFACTION
        and client.renewal_months <= UPSELL_MONTHS
    )


def wasted(licence: Licence) -> bool:
    """Return whether a product is expensive and hardly used."""
    return licence.utilisation < LICENCE_UTILISATION and licence.monthly_cost > LICENCE_COST


def worth_automating(process: Process) -> bool:
    """Return whether this work should be automated."""
    return (
        process.manual_tasks > AUTOMATION_TASKS
        and process.complexity < AUTOMATION_COMPLEXITY
        and process.expected_return > AUTOMATION_RETURN
    )


def _upsell(client: Client) -> Opportunity:
    reason = (
        f"uses {client.usage:.0%}, satisfaction {client.satisfaction:g}, "
        f"renewal in {client.renewal_months:g} months"
    )
    return Opportunity(kind="upsell", subject=client.name, reason=reason)


def _fewer(licence: Licence) -> Opportunity:
    unused = licence.monthly_cost * (1 - licence.utilisation)
    reason = f"{licence.utilisation:.0%} of {licence.monthly_cost:g} a month is used"
    return Opportunity(
        kind="licences",
        subject=licence.product,
        reason=reason,
        monthly_saving=round(unused, 2),
    )


def _automate(process: Process) -> Opportunity:
    reason = (
        f"{process.manual_tasks} tasks a month by hand, complexity {process.complexity:g}, "
        f"expected return {process.expected_return:g}"
    )
    return Opportunity(kind="automation", subject=process.name, reason=reason)
