"""Strategies: how services move to new revisions, and back. `strategy` in acso.toml selects one.

A strategy receives the updates, and returns the last result and the expectations that it was
checked against. Plan, records and verdict do not depend on the strategy. To add one: its name in
`ci.config.checks.STRATEGIES`, its ECS settings in `ci.release.plan.desired.DEPLOYMENT`, its class
in `STRATEGIES` here.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from ci.config import Environment
from ci.release.model import ReleaseContext, Say, ServiceRevision
from ci.release.rollout import services
from ci.release.rollout.services import ServiceUpdate
from ci.release.rollout.verdict import Expectation
from ci.release.rollout.watch import WatchResult

#: The last result, and the expectations of the services watched, by service.
Moved = tuple[WatchResult, dict[str, Expectation]]


class Strategy(Protocol):
    """One way of moving services between registered revisions."""

    async def forward(
        self, context: ReleaseContext, updates: Sequence[ServiceUpdate], say: Say
    ) -> Moved:
        """Update services and watch them until all are healthy or one has failed."""

    async def back(
        self, context: ReleaseContext, before: Mapping[str, ServiceRevision | None], say: Say
    ) -> Moved:
        """Return every service to what it ran before and wait for it; delete it if that is None.

        A service that cannot be restored raises nothing: its verdict says so.
        """


class Rolling:
    """ECS's rolling update, in waves: old tasks stop once the new ones are healthy."""

    async def forward(
        self, context: ReleaseContext, updates: Sequence[ServiceUpdate], say: Say
    ) -> Moved:
        """Update the services wave by wave."""
        return await services.roll_out(context, updates, say)

    async def back(
        self, context: ReleaseContext, before: Mapping[str, ServiceRevision | None], say: Say
    ) -> Moved:
        """Restore all services at once, without waves."""
        return await services.restore(context, before, say)


STRATEGIES: Mapping[str, Strategy] = MappingProxyType({"rolling": Rolling()})


def of(env: Environment) -> Strategy:
    """Return an environment's strategy."""
    return STRATEGIES[env.strategy]
