"""Real containers and a real embedded AWS, in an instance that only these tests use."""

import os
from collections.abc import Iterator

import anyio
import pytest

from ci.config import machine
from ci.local import base_image, container_engine, embedded_aws, stack
from tests.local.aws import Aws, leftovers


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A new instance with its own state; the caches are the user's, so the base image is reused."""
    name = f"local-{os.getpid()}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACSO_INSTANCE", name)
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield name


@pytest.fixture(scope="session")
def engine(instance: str) -> container_engine.Docker:
    del instance
    return anyio.run(container_engine.ensure, print)


@pytest.fixture(scope="session")
def image(engine: container_engine.Docker) -> base_image.BaseImage:
    return anyio.run(base_image.ensure, engine, print)


@pytest.fixture(scope="session")
def aws(engine: container_engine.Docker, image: base_image.BaseImage) -> Iterator[Aws]:
    """An embedded AWS with the corrections; it and its containers are removed at the end."""
    running = anyio.run(embedded_aws.ensure, engine, print)
    # Its registry does not have this image and says so immediately; then the local image is used.
    reference = f"{running.registry}/acso-test-app"
    engine.client.images.get(image.reference).tag(reference, "1")
    try:
        yield Aws(emulator=running, docker=engine, image=f"{reference}:1")
    finally:
        anyio.run(lambda: stack.down(print, cache=False))
        assert not leftovers(engine)


@pytest.fixture
def apart(
    monkeypatch: pytest.MonkeyPatch, engine: container_engine.Docker, request: pytest.FixtureRequest
) -> Iterator[str]:
    """Another instance, for a test that starts and kills its own embedded AWS."""
    name = f"{machine.instance()}-{abs(hash(request.node.name)) % 10**6}"
    monkeypatch.setenv("ACSO_INSTANCE", name)
    yield name
    anyio.run(lambda: stack.down(print, cache=False))
    assert not leftovers(engine)
