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
        path: the file, made if absent.
        say: told once if another process holds it.
        seconds: how long to wait for it.

    Raises:
        HostError: another process held it all that time.
    """
    taken = _taken(path)
    if taken is None:
        say(f"another process is at it, waiting ({path.stem})")

        async def free() -> bool:
            nonlocal taken
            taken = _taken(path)
            return taken is not None

        await until(free, seconds=seconds, every=0.1)
    if taken is None:
        message = f"another process has held {path} for {seconds:.0f} s"
        raise HostError(message, hint=f"find it with: fuser {path}")
    try:
        yield taken
    finally:
        os.close(taken)


def _taken(path: Path) -> int | None:
    """Lock the file that has this path; return its descriptor, None if another holds it.

    Who waits may be handed the lock of a file that `down` has removed meanwhile: such a lock keeps
    nobody out, so it does not count.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):  # noqa: PTH116 (beside fstat)
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None
