import pytest


@pytest.fixture
def anyio_backend() -> str:
    """The pipeline runs on asyncio, so its tests do not run twice."""
    return "asyncio"
