from typing import Any

import pytest

from tests.unit.release.fakes.clock import VirtualLoop


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """In these tests waiting takes no time."""
    return "asyncio", {"loop_factory": VirtualLoop}
