"""A container engine that a test may stop, and no socket left open by docker-py."""

import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import docker
import pytest

from tests.engine.daemons import OwnDaemon, small


@pytest.fixture(scope="module")
def archive(client: docker.DockerClient, image: str) -> bytes:
    return small(client, image)


@pytest.fixture(autouse=True)
def _collect_sockets() -> Iterator[None]:
    """Close the sockets that docker-py forgot within the test that opened them."""
    yield
    gc.collect()


@pytest.fixture
async def own(archive: bytes, short_path: Path) -> AsyncIterator[OwnDaemon]:
    daemon = OwnDaemon(home=short_path, image=archive)
    try:
        yield daemon
    finally:
        daemon.end()
