"""Locks between processes: files that the kernel unlocks when their holder ends in any way."""

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio

#: Seconds between two looks at a lock that another process holds.
PAUSE = 0.05


class Lock:
    """A file, made where it is missing, that is locked until it is closed.

    Raises:
        BlockingIOError: another holds it, and `wait` is off.
    """

    def __init__(self, path: Path, *, wait: bool = True) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(self._descriptor)
            raise

    def current(self) -> bool:
        """Whether the file is still the one at its path: who had it before may have removed it."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def close(self, *, remove: bool = False) -> None:
        """Let others have it; the file may go too."""
        if remove:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def attempt(path: Path) -> Lock | None:
    """Lock a file; None where another holds it."""
    with suppress(BlockingIOError):
        return Lock(path, wait=False)
    return None


@asynccontextmanager
async def held(path: Path, *, keep: bool = True) -> AsyncIterator[None]:
    """Hold a lock, waiting for it without holding a thread; unless kept, the file goes with it."""
    while (lock := attempt(path)) is None or not lock.current():
        if lock is not None:  # of a file that its holder removed meanwhile
            lock.close()
        await anyio.sleep(PAUSE)
    try:
        yield
    finally:
        lock.close(remove=not keep)
