"""Strategies are a seam: another one fits in without touching plan, record or verdict."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ci.config import STRATEGIES
from ci.release import OutcomeKind, ReleaseContext, Say, ServiceRevision
from ci.release.plan import desired
from ci.release.rollout import services, strategy
from ci.release.rollout.services import ServiceUpdate
from ci.release.rollout.strategy import Moved
from tests.unit.release.conftest import Pipeline

AT_ONCE = {"minimumHealthyPercent": 0, "maximumPercent": 100}


class OneByOne:
    """A service at a time, and back in one go."""

    def __init__(self) -> None:
        self.moved: list[list[str]] = []

    async def forward(
        self, context: ReleaseContext, updates: Sequence[ServiceUpdate], say: Say
    ) -> Moved:
        for number in range(1, len(updates)):
            self.moved.append([item.agent.name for item in updates[:number]])
            await services.roll_out(context, updates[:number], say)
        self.moved.append([item.agent.name for item in updates])
        return await services.roll_out(context, updates, say)

    async def back(
        self, context: ReleaseContext, before: Mapping[str, ServiceRevision | None], say: Say
    ) -> Moved:
        self.moved.append(["back"])
        return await services.restore(context, before, say)


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> OneByOne:
    made = OneByOne()
    known: dict[str, Any] = {**strategy.STRATEGIES, "one-by-one": made}
    monkeypatch.setattr(strategy, "STRATEGIES", known)
    monkeypatch.setattr(desired, "DEPLOYMENT", {**desired.DEPLOYMENT, "one-by-one": AT_ONCE})
    return made


def test_every_strategy_has_ecs_settings_and_a_class() -> None:
    assert set(STRATEGIES) == set(strategy.STRATEGIES) == set(desired.DEPLOYMENT)


async def test_another_strategy_deploys_and_rolls_back_with_the_same_record_and_verdict(
    pipeline: Pipeline, one_by_one: OneByOne
) -> None:
    await pipeline.deploy("good")
    other = pipeline.within(strategy="one-by-one")
    assert (await other.deploy("good-2")).kind is OutcomeKind.DEPLOYED
    assert [len(names) for names in one_by_one.moved] == [1, 2, 3, 4, 5]
    for service in pipeline.world.services.values():
        asked = service.request["deploymentConfiguration"]
        assert asked == AT_ONCE
    failed = await other.deploy("good-3", supervisor="crash")
    assert (failed.kind, one_by_one.moved[-1]) == (OutcomeKind.ROLLED_BACK, ["back"])
