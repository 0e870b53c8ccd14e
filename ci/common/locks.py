"""Locks between processes: files that the kernel unlocks when their last holder ends.

This uses flock(2) directly, not the `filelock` library. A child must be able to inherit a lock and
hold it after its parent was killed; `filelock.FileLock` keeps its descriptor private and refuses to
work after a fork. Its `lock_descriptor` is only the one call below, without the check for a file
that was removed meanwhile, and importing the library takes as long as a cached step (0.1 s).
"""

import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio

#: Seconds between two attempts to take a lock that another process holds.
PAUSE = 0.05


class LockTimeoutError(Exception):
    """Another process held a lock for longer than the caller waits."""


class Lock:
    """A lock file, created if missing, that is locked until `close`.

    Raises:
        BlockingIOError: another process holds the lock, and `wait` is off.
    """

    def __init__(self, path: Path, *, wait: bool = True) -> None:
        self._path = path
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(self.descriptor)
            raise

    def current(self) -> bool:
        """Return whether the locked file is still the one at its path.

        Its former holder may have removed it. The lock of a removed file excludes nobody.
        """
        try:
            return os.path.samestat(os.fstat(self.descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def close(self, *, remove: bool = False) -> None:
        """Release the lock, and remove its file where asked to."""
        if remove:
            self._path.unlink(missing_ok=True)
        os.close(self.descriptor)


def attempt(path: Path) -> Lock | None:
    """Lock a file without waiting; None if another process holds it or has just removed it."""
    with suppress(BlockingIOError):
        lock = Lock(path, wait=False)
        if lock.current():
            return lock
        lock.close()
    return None


@asynccontextmanager
async def held(
    path: Path,
    *,
    keep: bool = True,
    waiting: Callable[[], None] = lambda: None,
    seconds: float = float("inf"),
) -> AsyncIterator[int]:
    """Hold a lock inside the block; yield its descriptor, which a child may inherit.

    Args:
        path: the lock file, in a directory that exists.
        keep: whether the file stays after the block.
        waiting: called once if another process holds the lock.
        seconds: how long to wait for it; no thread is blocked meanwhile.

    Raises:
        LockTimeoutError: another process held the lock all that time.
    """
    deadline = time.monotonic() + seconds
    lock = attempt(path)
    if lock is None:
        waiting()
    while lock is None:
        if time.monotonic() >= deadline:
            raise LockTimeoutError(f"another process has held {path} for {seconds:.0f} s")
        await anyio.sleep(PAUSE)
        lock = attempt(path)
    try:
        yield lock.descriptor
    finally:
        lock.close(remove=not keep)
