"""Promote: release to one environment what another has validated, by digest; nothing is rebuilt."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ci.aws import ecr
from ci.aws.session import Aws
from ci.common.concurrency import parallel
from ci.config import Agent, Environment
from ci.errors import PromotionError, UsageError
from ci.release.model import Image, ReleaseContext, Request
from ci.release.records import table
from ci.release.records.release import History, Release, key
from ci.release.records.target import validated_releases


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """What is to be released: images by digest, and the source that they were built from."""

    images: tuple[Image, ...]
    request: Request


async def promotion(
    source: ReleaseContext, id_: str | None, aws: Aws, target: Environment
) -> Promotion:
    """Return the images and the source with which a validated release is promoted.

    Args:
        source: the environment that has validated the release.
        id_: the release; None: the last validated one.
        aws: the target environment's AWS, which may be another account or region.
        target: the environment to release to.

    Raises:
        UsageError: there is no such release.
        PromotionError: it did not pass validation, was built from uncommitted changes (allowed in
            development only), has no image of an agent in acso.toml, or its images are not in the
            target's registry.
    """
    release = _chosen(await table.history(source), source.env.name, id_)
    if release.request.dirty and target.name != "development":
        message = f"release {release.id} of {source.env.name} was built from uncommitted changes"
        raise PromotionError(message, hint=f"commit them and deploy to {source.env.name} again")
    images = await _located(source, release, aws)
    origin = f"{source.env.name} {release.id}"
    return Promotion(images=images, request=replace(release.request, promoted_from=origin))


def _chosen(history: History, environment: str, id_: str | None) -> Release:
    """Return a release that its environment has validated; pure."""
    if id_ is None:
        if history.stable is None:
            message = f"{environment} has no validated release"
            raise PromotionError(message, hint=f"./acso deploy --env {environment}")
        return history.stable
    key(id_)  # raises if it is not a release id
    found = next((item for item in history.releases if item.id == id_), None)
    if found is None:
        message = f"release {id_} of {environment} is not on record"
        raise UsageError(message, hint=validated_releases(history))
    if not found.stable:
        words = (found.outcome or str(found.state)).replace("_", " ")
        message = f"release {id_} did not pass validation in {environment} ({words})"
        raise PromotionError(message, hint=validated_releases(history))
    return found


async def _located(source: ReleaseContext, release: Release, aws: Aws) -> tuple[Image, ...]:
    """Return a release's images in the target's registry, one for each agent of acso.toml."""
    agents = {source.env.service(agent): agent for agent in source.config.agents}
    absent = [agent.name for service, agent in agents.items() if service not in release.after]
    if absent:
        message = f"release {release.id} of {source.env.name} has no image of {', '.join(absent)}"
        raise PromotionError(message, hint=f"./acso deploy --env {source.env.name}")
    host = await ecr.host(aws)

    async def located(agent: Agent) -> tuple[Image, bool]:
        run = release.after[source.env.service(agent)]
        reference = f"{host}/{agent.repository}@{run.digest}"
        image = Image(agent=agent.name, version=run.version, reference=reference)
        return image, await ecr.has(aws, agent.repository, run.digest)

    found = await parallel(located, agents.values())
    missing = [image for image, there in found if not there]
    if missing:
        raise await _missing(source, missing)
    return tuple(image for image, _ in found)


async def _missing(source: ReleaseContext, images: Sequence[Image]) -> PromotionError:
    """Return the refusal for images that the target's registry lacks."""
    references = [image.reference for image in images]
    message = "\n  ".join(["these images are not in the target's registry:", *references])
    name = source.env.name
    repositories = {agent.name: agent.repository for agent in source.config.agents}

    async def kept(image: Image) -> bool:
        return await ecr.has(source.aws, repositories[image.agent], image.digest)

    if all(await parallel(kept, images)):
        hint = (
            f"ECR replication has to bring them from {name}'s registry (docs/aws.md, Promotion); "
            "if it is set up, wait for it and run this again"
        )
    else:
        hint = f"{name}'s registry has lost them too: ./acso deploy --env {name}"
    return PromotionError(message, hint=hint)
