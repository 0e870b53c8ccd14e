"""What tests of faults look at from outside: containers by the command that runs in them."""

import os
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import docker
import pytest
from docker.models.containers import Container

from tests.engine.conftest import INSTANCE
from tests.engine.daemons import podman_version

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a container engine")
MINE: dict[str, Any] = {"label": f"acso.instance={INSTANCE}"}


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 60) -> Any:
    """Wait for something to be true and return it."""
    with anyio.fail_after(seconds):
        while not (found := await condition()):  # noqa: ASYNC110 (others' state sends no event)
            await anyio.sleep(0.05)
    return found


def running(client: docker.DockerClient, word: str) -> list[Container]:
    """Return the containers of these tests in which a process has a word in its command."""
    api: Any = client.api
    podman = podman_version(client) > 0
    # Podman asks a `ps` in the container but for columns, and goes on telling.
    params = {"ps_args": "pid,args", "stream": "false"} if podman else {}

    def commands(container: Container) -> list[str]:
        url = api._url("/containers/{0}/top", container.id)
        found = api._result(api._get(url, params=params), True)["Processes"]
        return [process[-1] for process in found or []]  # none of a container that is ending

    found = client.containers.list(filters=MINE, ignore_removed=True)
    return [each for each in found if any(word in command for command in commands(each))]


async def seen(client: docker.DockerClient, word: str) -> Any:
    """Return the container in which a command runs, once it does."""

    async def look() -> Any:
        try:
            return await anyio.to_thread.run_sync(running, client, word)
        except docker.errors.APIError:  # a container ended between the list and the look
            return []

    return (await until(look))[0]
