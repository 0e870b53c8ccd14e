"""Good releases succeed in a cloud that loses replies, throttles, is full, slow or silent."""

import dataclasses
import datetime
import random
from typing import Any

import anyio
import pytest

from ci import release
from ci.aws import elb
from ci.aws.elb import Answer
from ci.errors import AwsError
from ci.release import OutcomeKind
from ci.release.records.table import history
from tests.unit.release.conftest import CONFIG, Pipeline, all_of, versions

WRITES = [
    "create_service",
    "update_service",
    "register_task_definition",
    "put_item",
    "delete_item",
    "put_image",
]


def answered_late(pipeline: Pipeline, operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every reply of an operation get lost: botocore sends the request once more."""
    original = getattr(pipeline.world, operation)

    def twice(**request: Any) -> Any:
        original(**request)
        return original(**request)

    monkeypatch.setattr(pipeline.world, operation, twice)


async def succeeds(pipeline: Pipeline, name: str = "good-2") -> None:
    """Deploy, and check that all of it was deployed and recorded once."""
    outcome = await pipeline.deploy(name)
    assert outcome.kind is OutcomeKind.DEPLOYED, outcome.text()
    assert versions(pipeline.world) == all_of(name)
    past = await history(pipeline.context)
    assert past.current is not None
    assert (past.current.id, past.unfinished) == (outcome.release, ())


@pytest.mark.parametrize("operation", WRITES)
@pytest.mark.parametrize("first", [True, False])
async def test_lost_replies_change_nothing(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, operation: str, first: bool
) -> None:
    if not first:
        await pipeline.deploy("good")
    answered_late(pipeline, operation, monkeypatch)
    await succeeds(pipeline)


@pytest.mark.parametrize("operation", ["list_tasks", "describe_services", "describe_target_health"])
@pytest.mark.parametrize("code", ["ThrottlingException", "Unreachable", "InternalFailure"])
async def test_reads_may_fail_for_a_while(pipeline: Pipeline, operation: str, code: str) -> None:
    await pipeline.deploy("good")

    async def fail_for_a_while() -> None:
        await anyio.sleep(1)
        pipeline.world.errors[operation] = AwsError(f"ecs {operation}: no", code=code)
        await anyio.sleep(20)
        pipeline.world.errors.clear()

    async with anyio.create_task_group() as group:
        group.start_soon(fail_for_a_while)
        await succeeds(pipeline, "slow-2")


async def test_capacity_that_comes_with_the_third_task_is_waited_for(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    await succeeds(pipeline, "scarce-2")


async def test_a_busy_machine_that_misses_answers_undoes_nothing(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pipeline.deploy("good")
    asked, chance = 0, random.Random(1)  # noqa: S311 (no secret)

    async def get(url: str, *, seconds: float = 5.0) -> Answer:
        nonlocal asked
        asked += 1
        if chance.random() < 0.3:
            await anyio.sleep(seconds)
            return Answer(status=0, error="no answer: timed out")
        return pipeline.world.answer(url)

    monkeypatch.setattr(elb, "get", get)
    await succeeds(pipeline)
    assert asked > 2 * len(CONFIG.agents)


@pytest.mark.parametrize("skew", [-30, 30])
async def test_the_clock_of_this_machine_does_not_matter(pipeline: Pipeline, skew: float) -> None:
    await pipeline.deploy("good")
    other = pipeline.another()
    now = other.context.clock.now
    clock = release.Clock(
        now=lambda: now() + datetime.timedelta(seconds=skew), jitter=other.context.clock.jitter
    )
    context = dataclasses.replace(other.context, clock=clock)
    await succeeds(dataclasses.replace(other, context=context))
