"""File locks for `ci.local`: `ci.common.locks` with a line of progress and a `HostError`."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ci.common import locks
from ci.errors import HostError


@asynccontextmanager
async def held(
    path: Path, say: Callable[[str], None], *, seconds: float = 600
) -> AsyncIterator[int]:
    """Hold the lock of a file inside the block; yield its descriptor, which a child may inherit.

    Args:
        path: the file, created if missing.
        say: receives one line if another process holds the lock.
        seconds: how long to wait for it.

    Raises:
        HostError: another process held it all that time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)

    def waiting() -> None:
        say(f"waiting for another process that does the same ({path.stem})")

    try:
        async with locks.held(path, waiting=waiting, seconds=seconds) as descriptor:
            yield descriptor
    except locks.LockTimeoutError as error:
        raise HostError(str(error), hint=f"find that process: fuser {path}") from error
