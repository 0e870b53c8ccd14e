"""What financial intelligence stores: the cost of each service on each day of a month."""

from agents.common.runtime import Runtime
from agents.common.store.state import Collection, Stored


class MonthlyCosts(Stored):
    """One account's costs of one service in one month; amounts by day, `2026-11-24`."""

    account: str
    service: str
    currency: str
    days: dict[str, float]


def costs(runtime: Runtime, month: str) -> Collection[MonthlyCosts]:
    """Return the costs of a month, `2026-11`, by account and service."""
    return runtime.collection(f"costs-{month}", MonthlyCosts)
