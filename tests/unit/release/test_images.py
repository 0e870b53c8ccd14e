"""Images outlive their use: the registry keeps what a release on record lists, and no other."""

import pytest

from ci.errors import AwsError, TargetGoneError
from ci.release.records.images import tag
from tests.unit.release.conftest import CONFIG, Pipeline, all_of, versions

SUPERVISOR = "acso-supervisor"


def kept(pipeline: Pipeline) -> set[str]:
    """Return the digests of the supervisor's images that are tagged as kept."""
    tags = pipeline.world.tags.get(SUPERVISOR, {})
    assert all(name == tag(pipeline.context, digest) for name, digest in tags.items())
    return {digest.removeprefix("sha256:") for digest in tags.values()}


async def test_the_images_of_a_release_are_tagged_before_a_service_changes(
    pipeline: Pipeline,
) -> None:
    await pipeline.deploy("good")
    assert set(pipeline.world.tags) == {agent.repository for agent in CONFIG.agents}
    calls = pipeline.world.calls
    assert max(n for n, call in enumerate(calls) if call == "put_image") < calls.index(
        "create_service"
    )
    assert kept(pipeline) == {"good"}


async def test_a_tag_goes_with_the_last_record_that_lists_its_image(pipeline: Pipeline) -> None:
    thrifty = pipeline.within(keep_releases=2)
    for name in ("good", "good-2", "good-3"):
        await thrifty.deploy(name)
    # The oldest of the two records lists what it would have returned to.
    assert kept(pipeline) == {"good", "good-2", "good-3"}
    await thrifty.deploy("good-4")
    assert kept(pipeline) == {"good-2", "good-3", "good-4"}


async def test_an_image_that_is_not_there_changes_nothing(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    pipeline.world.lost_images.add("sha256:good-2")
    with pytest.raises(AwsError, match="does not hold sha256:good-2"):
        await pipeline.deploy("good-2")
    assert versions(pipeline.world) == all_of("good")


async def test_a_rollback_to_an_image_that_is_gone_is_refused(pipeline: Pipeline) -> None:
    await pipeline.deploy("good", supervisor="good-1")
    await pipeline.deploy("good-2")
    pipeline.world.lost_images.add("sha256:good-1")
    with pytest.raises(TargetGoneError) as raised:
        await pipeline.rollback()
    gone = "the image of acso-staging-supervisor:1 is not in the registry any more"
    assert f"{gone}; nothing was changed" in str(raised.value)
    assert versions(pipeline.world) == all_of("good-2")
