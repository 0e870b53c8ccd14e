"""Autoscaling's changes during a release, on real containers.

The embedded AWS has no autoscaling: the test changes the numbers of tasks as that does.
"""

import dataclasses

import anyio
import pytest

import validation
from ci import release
from ci.config import Scaling
from tests.local.releases.environment import REQUEST, World

pytestmark = pytest.mark.docker
LIMITS = Scaling(min=1, max=2, cpu=50)
SCALED = "threat-hunter"
PERIOD = 1.5  # seconds between two changes


async def scale(world: World) -> None:
    """Change the number of tasks of one agent all the time."""
    aws, env = world.context.aws, world.context.env
    name = env.service(world.context.config.agent(SCALED))
    count = LIMITS.max
    while True:
        await anyio.sleep(PERIOD)
        await aws.call(
            "ecs", "update_service", cluster=env.cluster, service=name, desiredCount=count
        )
        count = LIMITS.max + LIMITS.min - count


@pytest.mark.matrix
async def test_changes_of_the_count_during_a_release_are_no_failure(world: World) -> None:
    env = dataclasses.replace(world.context.env, scaling=LIMITS, bake_time=4)
    outputs = dataclasses.replace(world.context.outputs, scaled=(SCALED,))  # type: ignore[type-var]
    context = dataclasses.replace(world.context, env=env, outputs=outputs)

    async def validate(here: release.ReleaseContext) -> validation.Report:
        return await validation.run(["smoke"], here, here.outputs.url)

    async def deploy(name: str) -> release.Outcome:
        return await release.deploy(context, world.images(name), REQUEST, validate, world.say)

    first = await deploy("good")
    assert first.ok, first.text()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scale, world)
        outcome = await deploy("good-scaled")
        tasks.cancel_scope.cancel()
    assert outcome.ok, outcome.text()
