"""One process at a time, across processes; released by the system when its holder dies."""

import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ci.errors import HostError
from ci.local.wait import until


@asynccontextmanager
async def held(
    path: Path, say: Callable[[str], None], *, seconds: float = 600
) -> AsyncIterator[int]:
    """Hold the lock of a file while inside; yields its descriptor.

    A child that inherits the descriptor holds the lock as well, so that work which outlives a
    killed parent is not done twice at once.

    Args:
        path: the file, made if absent. It is never removed: removing it would split the lock.
        say: told once if another process holds it.
        seconds: how long to wait for it.

    Raises:
        HostError: another process held it all that time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _taken(descriptor):
            say(f"another process is at it, waiting ({path.stem})")

            async def free() -> bool:
                return _taken(descriptor)

            if not await until(free, seconds=seconds, every=0.1):
                message = f"another process has held {path} for {seconds:.0f} s"
                raise HostError(message, hint=f"find it with: fuser {path}")
        yield descriptor
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
