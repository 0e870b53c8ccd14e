"""Where money can be earned or saved, by three rules."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

#: A client buys more who uses most of what they have, likes it and must decide soon.
UPSELL_USAGE = 0.8  # share of what was bought; more than this
UPSELL_SATISFACTION = 4.0  # on a scale from 1 to 5; more than this
UPSELL_MONTHS = 6  # until renewal; at most this
#: Licences are too many when few are used and they cost enough to care.
LICENCE_UTILISATION = 0.6  # share in use; less than this
LICENCE_COST = 1000.0  # a month; more than this
#: Work is worth automating when it is much, simple, and pays back.
AUTOMATION_TASKS = 100  # done by hand a month; more than this
AUTOMATION_COMPLEXITY = 0.3  # from 0 to 1; less than this
AUTOMATION_RETURN = 2.0  # gain over cost; more than this


@dataclass(frozen=True, kw_only=True)
class Client:
    """How a client does with what they bought."""

    name: str
    usage: float
    satisfaction: float
    renewal_months: float


@dataclass(frozen=True, kw_only=True)
class Licence:
    """A product paid for by the month."""

    product: str
    utilisation: float
    monthly_cost: float


@dataclass(frozen=True, kw_only=True)
class Process:
    """Work that is done by hand."""

    name: str
    manual_tasks: int
    complexity: float
    expected_return: float


@dataclass(frozen=True, kw_only=True)
class Opportunity:
    """Something to do, and why. `monthly_saving` is None where the figures do not tell."""

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
    """Return whether a client would buy more."""
    return (
        client.usage > UPSELL_USAGE
        and client.satisfaction > UPSELL_SATISFACTION
        and client.renewal_months <= UPSELL_MONTHS
    )


def wasted(licence: Licence) -> bool:
    """Return whether a product is paid for and hardly used."""
    return licence.utilisation < LICENCE_UTILISATION and licence.monthly_cost > LICENCE_COST


def worth_automating(process: Process) -> bool:
    """Return whether a program should do this work."""
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
