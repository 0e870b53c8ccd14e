from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from tests.unit.release.fakes.clock import VirtualLoop
from validation import (
    Check,
    CheckContext,
    Evidence,
    Finding,
    Report,
    Result,
    Severity,
    Status,
)

AWS_ACCOUNT = "123456789012"  # not the embedded AWS's


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """In these tests waiting takes no time."""
    return "asyncio", {"loop_factory": VirtualLoop}


def finding(status: Status) -> Finding:
    """Return a finding of a status."""
    read = (Evidence("things", 1, 1),)
    return Finding(status=status, observed="this", expected="that", hint="do it", evidence=read)


def check(
    name: str,
    status: Status = Status.PASS,
    *,
    takes: float = 0,
    limit: float = 30,
    run: Callable[[CheckContext], Awaitable[Finding]] | None = None,
) -> Check:
    """Return a check with a result; one that runs a function instead, if there is one."""

    async def ends(_: CheckContext) -> Finding:
        await anyio.sleep(takes)
        return finding(status)

    return Check(
        id=f"test.{name}",
        title=f"{name} is well",
        run=run or ends,
        severity=Severity.HIGH,
        reads=(),
        why="it must be",
        remedy="make it well",
        controls=("FSBP ECS.1",),
        seconds=limit,
    )


def report(*statuses: Status) -> Report:
    """Return a report of checks with these results."""
    results = tuple(
        Result(check=_named(f"check {n}"), finding=finding(status), seconds=1)
        for n, status in enumerate(statuses)
    )
    return Report(suite="smoke", environment="staging", results=results, seconds=1)


def _named(title: str) -> Check:
    from dataclasses import replace

    return replace(check("a"), title=title)
