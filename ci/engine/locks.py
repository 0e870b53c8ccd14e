"""Locks between processes: files that the kernel unlocks when their holder ends in any way."""

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

#: Seconds between two looks at a lock that another process holds.
PAUSE = 0.05


class Lock:
    """A lock that is held until it is released."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Let others have it."""
        os.close(self._descriptor)


def take(path: Path, *, shared: bool = False, wait: bool = True) -> Lock | None:
    """Lock a file, made where it is missing; None where `wait` is off and another holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, how if wait else how | fcntl.LOCK_NB)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return Lock(descriptor)


@asynccontextmanager
async def held(path: Path) -> AsyncIterator[None]:
    """Hold a lock, waiting for it without holding a thread."""
    while (lock := take(path, wait=False)) is None:  # noqa: ASYNC110  # no event
        await anyio.sleep(PAUSE)
    try:
        yield
    finally:
        lock.release()
