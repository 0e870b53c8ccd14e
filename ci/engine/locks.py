"""Locks between processes: files that the kernel unlocks when their holder ends in any way."""

import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio

#: Seconds between two looks at a lock that another process holds.
PAUSE = 0.05


class Lock:
    """A lock that is held until it is released."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def at(self, path: Path) -> bool:
        """Whether the file is still the one at its path: who had it before may have removed it."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), path.stat())
        except FileNotFoundError:
            return False

    def release(self, path: Path | None = None) -> None:
        """Let others have it; its file goes too where its path is given."""
        if path is not None:
            path.unlink(missing_ok=True)
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


@contextmanager
def waited(path: Path) -> Iterator[None]:
    """Hold a lock for a moment, waiting for it with the thread."""
    lock = take(path)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


@asynccontextmanager
async def held(path: Path, *, keep: bool = True) -> AsyncIterator[None]:
    """Hold a lock, waiting for it without holding a thread; unless kept, the file goes with it."""
    while (lock := take(path, wait=False)) is None or not lock.at(path):
        if lock is not None:  # of a file that its holder removed meanwhile
            lock.release()
        await anyio.sleep(PAUSE)
    try:
        yield
    finally:
        lock.release(None if keep else path)
