"""Images that releases on record list: tagged, so that the registry's lifecycle rules keep them.

A lifecycle rule knows tags and ages, not what runs. `ci/infra/registry.yaml` never expires images
with these tags. Each environment has its own, because environments share repositories.
"""

from collections.abc import Iterable, Sequence

from ci.aws import ecr
from ci.common.concurrency import parallel
from ci.config.agents import repository_of
from ci.release.model import Image, ReleaseContext
from ci.release.records.release import Release

TAG = "kept"  # `tagPatternList` in ci/infra/registry.yaml


async def keep(context: ReleaseContext, images: Sequence[Image]) -> None:
    """Tag the images of a release as kept; raises `AwsError` if one is not in the registry."""

    async def one(image: Image) -> None:
        repository = image.reference.partition("/")[2].partition("@")[0]
        await ecr.tag(context.aws, repository, image.digest, tag(context, image.digest))

    await parallel(one, images)


async def untag_unused(
    context: ReleaseContext, past: Iterable[Release], kept: Iterable[Release]
) -> None:
    """Remove the tag from images that only past releases list."""
    unused = _listed(past) - _listed(kept)
    for agent in sorted({agent for agent, _ in unused}):
        tags = [tag(context, digest) for name, digest in unused if name == agent]
        await ecr.untag(context.aws, repository_of(agent), sorted(tags))


def tag(context: ReleaseContext, digest: str) -> str:
    """Return the tag of an environment's kept image. A tag never moves, so it names the image."""
    return f"{TAG}-{context.env.name}-{digest.removeprefix('sha256:')[:16]}"


def _listed(releases: Iterable[Release]) -> set[tuple[str, str]]:
    """Return agent and digest of all images that releases list, before and after."""
    return {
        (entry.agent, run.digest)
        for release in releases
        for entry in release.entries
        for run in (entry.before, entry.after)
        if run and run.digest
    }
