"""A release of one environment in another of the same AWS: the same digests, validated anew."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from ci import release
from ci.aws.session import Aws
from ci.errors import PromotionError
from ci.local import stack
from tests.local.releases.environment import World, make

pytestmark = pytest.mark.docker


@pytest.fixture
async def staging(world: World) -> AsyncIterator[World]:
    """Another environment of the same account."""
    running = await stack.up(print)
    assert running.emulator == world.emulator
    made = await make(running, "staging")
    try:
        yield made
    finally:
        made.clear()


async def promoted(world: World, to: World) -> release.Promotion:
    return await release.promotion(world.context, None, to.context.aws, to.context.env)


async def test_what_was_validated_runs_in_the_other_environment_by_the_same_digests(
    world: World, staging: World
) -> None:
    agents = world.context.config.agents
    images = [world.pushed(agent.name, "good-promoted", agent.repository) for agent in agents]
    assert (await world.deploy(images)).ok
    found = await promoted(world, staging)
    assert [image.reference for image in found.images] == [image.reference for image in images]
    outcome = await staging.deploy(list(found.images))
    assert outcome.ok, outcome.text()
    assert await staging.versions() == await world.versions()
    assert {result.run.digest for result in outcome.services if result.run} == {
        image.digest for image in images
    }
    known = staging.context.aws
    aws = Aws(  # of another region, whose registry is empty
        region="eu-west-1",
        endpoint=known.endpoint,
        registry=known.registry,
        credentials=known.credentials,
    )
    elsewhere = replace(staging, context=replace(staging.context, aws=aws))
    with pytest.raises(PromotionError, match="not in the target's registry"):
        await promoted(world, elsewhere)
