"""The agents' images between containers and the registry: built, found by version, pushed."""

import dataclasses
from collections.abc import Sequence
from functools import partial

import anyio
import dagger
from dagger import dag

from ci.aws import ecr
from ci.aws.session import Aws
from ci.aws.target import Target
from ci.config import Agent, Config
from ci.errors import StageError
from ci.release import Image
from ci.report.progress import stage
from ci.stages import build as building
from ci.stages.build import Built
from ci.stages.publish import Registry, publish
from ci.stages.running import failure, run_all


async def build(source: dagger.Directory, config: Config, agents: tuple[Agent, ...]) -> list[Built]:
    """Build the images of these agents, side by side; raises `StageError`."""
    async with stage("build") as span:
        built = await building.build(source, config.project, agents)
        await run_all({item.agent: partial(_sync, item) for item in built})
        span.result = ", ".join(f"{item.agent} {item.version}" for item in built)
    return built


async def find(target: Target, built: Built) -> Image:
    """Return an agent's image, by digest if the registry has its version already."""
    repository = target.config.agent(built.agent).repository
    digest = await ecr.digest(target.aws, repository, built.version)
    reference = f"{await ecr.host(target.aws)}/{repository}@{digest}" if digest else ""
    return Image(agent=built.agent, version=built.version, reference=reference)


async def push(target: Target, built: Sequence[Built]) -> list[Image]:
    """Push what the registry lacks, all at once; return every image by digest."""
    images: dict[str, Image] = {}
    pushed: list[str] = []

    async def one(item: Built, registry: Registry) -> None:
        image = await find(target, item)
        if not image.reference:
            repository = target.config.agent(item.agent).repository
            image = dataclasses.replace(image, reference=await publish(item, repository, registry))
            pushed.append(item.agent)
        images[item.agent] = image

    async with stage("push") as span:
        registry = await _registry(target.aws)
        async with anyio.create_task_group() as group:
            for item in built:
                group.start_soon(one, item, registry)
        span.result = ", ".join(sorted(pushed)) or "the registry has them all"
    return [images[item.agent] for item in built]


async def _registry(aws: Aws) -> Registry:
    login = await ecr.login(aws)
    password = dag.set_secret(f"login-{login.host}", login.password)
    return Registry(host=login.host, username=login.username, password=password)


async def _sync(built: Built) -> None:
    try:
        await built.container.sync()
    except dagger.ExecError as error:
        raise StageError(failure(f"build of {built.agent}", error)) from error
