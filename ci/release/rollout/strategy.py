"""Strategies: how services come to new revisions, and back. `strategy` in acso.toml names one.

A strategy gets aims and returns what it saw last, with the goals that the verdict judges; plan,
record and verdict know none of them. To add one: its name to `ci.config.STRATEGIES`, what it asks
of ECS to `ci.release.plan.desired.DEPLOYMENT`, what it does to `STRATEGIES` here.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from ci.config import Environment
from ci.release.model import ReleaseContext, Say, ServiceRevision
from ci.release.rollout import services
from ci.release.rollout.services import Aim
from ci.release.rollout.verdict import Goal
from ci.release.rollout.watch import Watched

#: What was seen last, and the goals of the services looked at, by service.
Moved = tuple[Watched, dict[str, Goal]]


class Strategy(Protocol):
    """One way of moving services between revisions; `aims` name revisions that are registered."""

    async def forward(self, context: ReleaseContext, aims: Sequence[Aim], say: Say) -> Moved:
        """Move services to their aims and watch them until all are good or one has failed."""

    async def back(
        self, context: ReleaseContext, before: Mapping[str, ServiceRevision | None], say: Say
    ) -> Moved:
        """Return every service to what it ran, None for one that was not there, and wait for it.

        Nothing is raised for a service that does not come back: its verdict says so.
        """


class Rolling:
    """In waves, new tasks beside the old ones until they serve: ECS's rolling update."""

    async def forward(self, context: ReleaseContext, aims: Sequence[Aim], say: Say) -> Moved:
        """Start the services wave by wave."""
        return await services.roll(context, aims, say)

    async def back(
        self, context: ReleaseContext, before: Mapping[str, ServiceRevision | None], say: Say
    ) -> Moved:
        """Bring all services back at once: what they return to has served before."""
        return await services.take_back(context, before, say)


STRATEGIES: Mapping[str, Strategy] = MappingProxyType({"rolling": Rolling()})


def of(env: Environment) -> Strategy:
    """Return an environment's strategy."""
    return STRATEGIES[env.strategy]
