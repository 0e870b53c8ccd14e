import os
from collections.abc import Iterator
from functools import partial

import anyio
import pytest

from ci.local import stack
from tests.local.releases.environment import World, make


@pytest.fixture
def anyio_backend() -> str:
    """The pipeline runs on asyncio, so its tests do not run twice."""
    return "asyncio"


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """Start an embedded AWS with development's infrastructure; all of it is gone at the end."""
    before = os.environ.get("ACSO_INSTANCE")
    os.environ["ACSO_INSTANCE"] = f"release-{os.getpid()}"
    try:
        running = anyio.run(stack.up, print)
        made = anyio.run(make, running)
        try:
            yield made
        finally:
            made.remove_images()
    finally:
        anyio.run(partial(stack.down, print, cache=False))
        os.environ.pop("ACSO_INSTANCE")
        if before is not None:
            os.environ["ACSO_INSTANCE"] = before
