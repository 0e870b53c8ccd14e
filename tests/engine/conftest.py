"""Sessions of the local engine with Dagger's own client, on a base image of this machine."""

import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import dagger
import docker
import httpx
import pytest

from ci import engine
from ci.local import base_image
from ci.local import container_engine as local_docker
from tests.engine.behaviours import IMAGE, Lab

INSTANCE = f"engine-tests-{os.getpid()}"
#: Finds what these tests made: others may make containers and images meanwhile.
OWN: dict[str, Any] = {"label": f"acso.instance={INSTANCE}"}
Open = Callable[[engine.Options], AbstractAsyncContextManager[Lab]]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def image() -> str:
    """The base image that this machine has or makes."""

    async def ensure() -> str:
        return (await base_image.ensure(await local_docker.ensure(print), print)).reference

    return anyio.run(ensure)


@pytest.fixture(scope="session")
def client() -> Iterator[docker.DockerClient]:
    """Docker itself, to look behind the engine; what the tests' steps made goes at the end."""
    client = docker.from_env()
    yield client
    assert not client.containers.list(all=True, filters=OWN, ignore_removed=True)
    for each in client.images.list(filters=OWN):
        for tag in each.tags:  # by name: an id cannot go before the images made of it
            client.api.remove_image(tag, force=True)
    for volume in client.volumes.list(filters={"label": "acso.engine.cache"}):
        if INSTANCE in volume.attrs["Labels"]["acso.engine.cache"]:
            volume.remove()
    client.close()


@pytest.fixture(scope="session")
def options(
    image: str, client: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> engine.Options:
    """A cache of these tests' own, so that everything runs once for real."""
    del client
    root = tmp_path_factory.mktemp("engine")
    bundle = root / "bundle.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\n")
    return engine.Options(
        cache_dir=root / "cache",
        images={IMAGE: image},
        exec_env={"FROM_HOST": "yes"},
        ca_bundle=bundle,
        labels={"acso.instance": INSTANCE},
    )


@pytest.fixture(scope="session")
def session() -> Open:
    """Open a session of one's own."""

    @asynccontextmanager
    async def opened(options: engine.Options) -> AsyncIterator[Lab]:
        lines: list[str] = []
        async with engine.serve(replace(options, log=lines.append)) as session:
            with pytest.MonkeyPatch.context() as patch:
                for name, value in session.environ().items():
                    patch.setenv(name, value)
                connection = dagger.Connection(dagger.Config(log_output=None))
                client = await connection.__aenter__()
            try:
                yield Lab(options=options, session=session, dag=client, lines=lines)
            finally:
                await connection.close()  # type: ignore[no-untyped-call]

    return opened


@pytest.fixture(scope="module")
async def lab(options: engine.Options, session: Open) -> AsyncIterator[Lab]:
    """A session for the tests of one file."""
    async with session(options) as lab:
        yield lab


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real registry on loopback with the repository `app`: the embedded AWS's."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("registry") / "log"
    settings = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "IOT_MTLS_ENABLED": "0"}
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "DOCKER_HOST") if key in os.environ}
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "ministack"],
            env={**kept, **settings, "SFTP_ENABLED": "0"},
            stdout=output,
            stderr=output,
            cwd=log.parent,
        )
    try:
        anyio.run(_ready, port, server, log)
        yield f"localhost:{port}"
    finally:
        server.terminate()
        server.wait(20)


async def _ready(port: int, server: "subprocess.Popen[bytes]", log: Path) -> None:
    headers = {
        "X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.CreateRepository",
        "Content-Type": "application/x-amz-json-1.1",
        "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/ecr/aws4_request",
    }
    with anyio.fail_after(60):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            while True:
                assert server.poll() is None, await anyio.Path(log).read_text()
                try:
                    body = '{"repositoryName": "app"}'
                    made = await http.post("/", headers=headers, content=body, timeout=20)
                    if made.status_code == 200:
                        return
                except httpx.TransportError:
                    await anyio.sleep(0.1)
