"""Autoscaling: the number of tasks is not the pipeline's, and a change of it is no failure."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import pytest

from ci.config import Scaling
from ci.release import OutcomeKind
from ci.release.plan.changes import plan
from ci.release.plan.saved import read_facts
from ci.release.records import table
from tests.unit.release.conftest import CONFIG, ENV, Pipeline, all_of, context, images, versions
from tests.unit.release.fakes.stack import Account, with_stack
from tests.unit.release.fakes.world import World

LIMITS = Scaling(min=2, max=5, cpu=60)
PERIOD = 3.0  # seconds between two changes
COUNTS = (5, 3, 4)  # never the least, which a record lists
Process = Callable[..., Pipeline]


@dataclass
class ScaledWorld(World):
    """A world whose autoscaling changes the number of tasks all the time."""

    account: Account = field(default_factory=Account)
    asked: list[dict[str, Any]] = field(default_factory=list)  # of UpdateService
    busy: bool = False

    def tick(self) -> None:
        scaled = self.account.scaled if self.busy and self.account.stack else ()
        count = COUNTS[int(anyio.current_time() / PERIOD) % len(COUNTS)]
        for agent in scaled:
            found = self.services.get(f"{ENV.prefix}-{agent}")
            if found is not None and found.status == "ACTIVE":
                found.request["desiredCount"] = count
        super().tick()

    def update_service(self, service: str, **request: Any) -> dict[str, Any]:
        self.asked.append(dict(request))
        return super().update_service(service, **request)

    def counts(self) -> set[int]:
        return {item.request["desiredCount"] for item in self.services.values()}


@pytest.fixture
def world(new: Callable[..., Pipeline]) -> ScaledWorld:
    made = new(ScaledWorld).world
    assert isinstance(made, ScaledWorld)
    return made


@pytest.fixture
def process(world: ScaledWorld) -> Process:
    """Returns a process with these settings: scaled unless they say otherwise."""

    def make(**changes: Any) -> Pipeline:
        made = Pipeline(world=world, context=context(world))
        settings = {"scaling": LIMITS, "bake_time": 20, **changes}
        return with_stack(made, world.account, CONFIG, **settings)

    return make


async def test_changes_during_rollout_bake_and_validation_are_no_failure(
    world: ScaledWorld, process: Process
) -> None:
    first = await process().deploy("good-one")
    assert first.kind is OutcomeKind.DEPLOYED
    assert world.counts() == {LIMITS.min}
    assert set(world.account.scaled) == {agent.name for agent in CONFIG.agents}
    world.busy = True
    for version in ("good-two", "good-three", "good-four"):
        world.asked.clear()
        outcome = await process().deploy(version)
        assert (outcome.kind, outcome.why) == (OutcomeKind.DEPLOYED, "")
        assert versions(world) == all_of(version)
        assert len(world.asked) == len(CONFIG.agents)
        assert not any("desiredCount" in request for request in world.asked)


async def test_what_autoscaling_chose_is_neither_a_change_nor_an_outdated_plan(
    world: ScaledWorld, process: Process
) -> None:
    await process().deploy("good-one")
    before = await _facts(process())
    for service in world.services.values():
        service.request["desiredCount"] = 4
    assert await _facts(process()) == before
    assert not (await plan(process().context, images("good-one"))).changed
    outcome = await process().deploy("good-one")
    assert outcome.kind is OutcomeKind.NOTHING_TO_DO
    assert world.counts() == {4}


async def _facts(process: Pipeline) -> Any:
    return await read_facts(process.context)


async def test_a_count_outside_the_limits_is_moved_to_the_nearest(
    world: ScaledWorld, process: Process
) -> None:
    await process(scaling=None, desired_count=9).deploy("good-one")
    found = await plan(process().context, images("good-one"))
    assert {change.reasons for change in found.changes} == {("desiredCount 9 -> 5",)}
    await process().deploy("good-one")
    assert world.counts() == {LIMITS.max}


async def test_a_failed_release_goes_back_and_leaves_the_count_to_autoscaling(
    world: ScaledWorld, process: Process
) -> None:
    await process().deploy("good-one")
    world.busy = True
    world.asked.clear()
    outcome = await process().deploy("crash")
    assert outcome.kind in (OutcomeKind.ROLLED_BACK, OutcomeKind.ROLLED_BACK_BY_ECS)
    assert outcome.way_back == ""
    assert versions(world) == all_of("good-one")
    assert not any("desiredCount" in request for request in world.asked)


async def test_without_scaling_again_the_count_is_the_configured_one_and_back(
    world: ScaledWorld, process: Process
) -> None:
    await process().deploy("good-one")
    for service in world.services.values():
        service.request["desiredCount"] = 4
    outcome = await process(scaling=None, desired_count=3).deploy("good-one")
    assert outcome.kind is OutcomeKind.DEPLOYED
    assert (world.counts(), world.account.scaled) == ({3}, ())
    # A rollback makes the services scaled again, at the count that they have.
    assert (await process(scaling=None, desired_count=3).rollback()).ok
    assert set(world.account.scaled) == {agent.name for agent in CONFIG.agents}
    assert world.counts() == {3}


async def test_a_rollback_to_a_release_without_scaling_restores_its_count(
    world: ScaledWorld, process: Process
) -> None:
    await process(scaling=None, desired_count=1).deploy("good-one")
    await process().deploy("good-two")
    world.busy = True
    assert (await process().rollback()).ok
    assert (world.counts(), world.account.scaled) == ({1}, ())


async def test_a_service_set_to_no_tasks_is_still_a_failure(
    world: ScaledWorld, process: Process
) -> None:
    await process().deploy("good-one")

    before = world.update_service

    def off(service: str, **request: Any) -> dict[str, Any]:
        answer = before(service, **request)
        world.services[service].request["desiredCount"] = 0
        return answer

    world.update_service = off  # type: ignore[method-assign]
    outcome = await process().deploy("good-two")
    assert "desired count to 0" in outcome.why


async def test_a_record_lists_the_least_count_and_that_it_is_scaled(process: Process) -> None:
    await process().deploy("good-one")
    found = (await table.history(process().context)).current
    assert found is not None
    assert {(run.desired, run.scaled) for run in found.after.values()} == {(LIMITS.min, True)}
    run = next(iter(found.after.values()))
    assert run.same_as(replace(run, desired=9, scaled=False))
    assert not run.same_as(replace(run, version="another"))
