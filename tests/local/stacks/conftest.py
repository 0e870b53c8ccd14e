"""An embedded AWS for each file: its tests create and delete all stacks."""

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from ci.aws.session import Aws, Credentials
from ci.local import container_engine, embedded_aws


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", autouse=True)
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An instance of the file's own, with its own state."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACSO_INSTANCE", f"stacks-{os.getpid()}")
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="module")
async def aws(anyio_backend: str, instance: None) -> AsyncIterator[Aws]:  # noqa: ARG001
    """An embedded AWS without stacks, stopped after the file's tests."""
    found = await container_engine.ensure(print)
    running = await embedded_aws.ensure(found, print)
    keys = Credentials(access_key_id="test", secret_access_key="test")
    yield Aws(
        region="us-east-1",
        endpoint=running.endpoint,
        load_balancer=running.load_balancer,
        credentials=keys,
    )
    await embedded_aws.stop(found, print)
