"""Promoting: what one environment has validated becomes the release of another, by digest."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ci.aws import ecr
from ci.aws.session import Aws
from ci.common.concurrency import parallel
from ci.config import Agent, Environment
from ci.errors import PromotionError, UsageError
from ci.release.model import Image, ReleaseContext, Request
from ci.release.records import table
from ci.release.records.release import History, Release, State, key
from ci.release.records.target import validated


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """What is to be released: images by digest, recorded with the source that they are of."""

    images: tuple[Image, ...]
    request: Request


async def promotion(
    source: ReleaseContext, id_: str | None, aws: Aws, target: Environment
) -> Promotion:
    """Return what a validated release is in another environment.

    Args:
        source: the environment that has validated it.
        id_: the release; None: the last validated one.
        aws: the target's, which may be of another account or region.
        target: the environment to release to.

    Raises:
        UsageError: there is no such release.
        PromotionError: it did not pass validation, was made of uncommitted changes (which only
            development takes), lacks an agent of acso.toml, or its images are not in the target's
            registry.
    """
    release = _chosen(await table.history(source), source.environment.name, id_)
    if release.request.dirty and target.name != "development":
        message = (
            f"release {release.id} of {source.environment.name} was made of uncommitted changes"
        )
        raise PromotionError(
            message, hint=f"commit them, and deploy to {source.environment.name} again"
        )
    images = await _located(source, release, aws)
    origin = f"{source.environment.name} {release.id}"
    return Promotion(images=images, request=replace(release.request, promoted_from=origin))


def _chosen(history: History, environment: str, id_: str | None) -> Release:
    """Return a release that its environment has validated; pure."""
    if id_ is None:
        if history.current is None:
            message = f"{environment} has no validated release"
            raise PromotionError(message, hint=f"acso deploy --env {environment}")
        return history.current
    key(id_)  # raises for what is no id
    found = next((item for item in history.releases if item.id == id_), None)
    if found is None:
        message = f"release {id_} of {environment} is not on record"
        raise UsageError(message, hint=validated(history))
    if found.state is not State.SUCCEEDED:
        words = str(found.state).replace("_", " ")
        message = f"release {id_} did not pass validation in {environment} ({words})"
        raise PromotionError(message, hint=validated(history))
    return found


async def _located(source: ReleaseContext, release: Release, aws: Aws) -> tuple[Image, ...]:
    """Return a release's images as they are in a registry, one for each agent of acso.toml."""
    agents = {source.environment.service(agent): agent for agent in source.config.agents}
    lacking = [agent.name for service, agent in agents.items() if service not in release.after]
    if lacking:
        message = f"release {release.id} of {source.environment.name} has no {', '.join(lacking)}"
        raise PromotionError(message, hint=f"acso deploy --env {source.environment.name}")
    host = await ecr.host(aws)

    async def located(agent: Agent) -> tuple[Image, bool]:
        run = release.after[source.environment.service(agent)]
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
    name = source.environment.name
    repositories = {agent.name: agent.repository for agent in source.config.agents}

    async def kept(image: Image) -> bool:
        return await ecr.has(source.aws, repositories[image.agent], image.digest)

    if all(await parallel(kept, images)):
        hint = (
            f"ECR replication has to bring them from {name}'s registry (docs/aws.md, Promotion); "
            "if it is set up, wait for it and run this again"
        )
    else:
        hint = f"{name}'s registry has lost them too: acso deploy --env {name}"
    return PromotionError(message, hint=hint)
