"""An embedded AWS of these tests' own, with the stacks of development."""

import os
from collections.abc import AsyncIterator, Iterator
from functools import partial

import anyio
import pytest

from ci import infra
from ci.aws.target import Target
from ci.config import load
from ci.local import container_engine, embedded_aws, stack
from ci.release import ReleaseContext
from tests.local.releases.environment import ROOT, World, make, reach


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An instance of the tests' own, with its own state."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACSO_INSTANCE", f"faults-{os.getpid()}")
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="module")
async def place(anyio_backend: str, instance: None) -> AsyncIterator[ReleaseContext]:  # noqa: ARG001
    """An environment whose stacks are applied and in which nothing runs."""
    docker = await container_engine.ensure(print)
    running = await embedded_aws.ensure(docker, print)
    config = load(ROOT / "tests" / "acso.toml")
    aws, env = reach(running), config.environment("development")
    target = Target(aws=aws, config=config, env=env)
    try:
        await infra.apply_registry(target, print)
        outputs = await infra.apply(target, print)
        yield ReleaseContext(aws=aws, config=config, env=env, outputs=outputs)
    finally:
        await embedded_aws.stop(docker, print)


@pytest.fixture(scope="module")
def released(instance: None) -> Iterator[World]:  # noqa: ARG001
    """An environment with two successful releases of stand-ins for the agents."""
    try:
        made = anyio.run(make, anyio.run(stack.up, print))
        try:
            anyio.run(_release, made)
            yield made
        finally:
            made.remove_images()
    finally:
        anyio.run(partial(stack.down, print, cache=False))


async def _release(world: World) -> None:
    for name in ("good", "good-2"):
        outcome = await world.deploy(world.images(name))
        outcome.raise_for_failure()
