"""Cache volumes and their sharing modes, across all processes with the same store."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from ci.common import locks
from ci.engine.store.cache import Store, key_of
from ci.engine.values import Mount


@asynccontextmanager
async def held(store: Store, mounts: tuple[Mount, ...]) -> AsyncIterator[tuple[Mount, ...]]:
    """Lock the caches of a command, always in the same order; yield its mounts.

    Where another command uses a PRIVATE cache, the mount gets another volume.
    """
    async with AsyncExitStack() as stack:
        for name in sorted({mount.name for mount in mounts if mount.sharing == "LOCKED"}):
            await stack.enter_async_context(locks.held(_lock(store, name)))
        yield tuple(_private(store, mount, stack) for mount in mounts)


def _private(store: Store, mount: Mount, stack: AsyncExitStack) -> Mount:
    if mount.kind != "cache" or mount.sharing != "PRIVATE":
        return mount
    name, number = mount.name, 0
    while (lock := locks.attempt(_lock(store, name))) is None:
        number += 1
        name = f"{mount.name}#{number}"
    stack.callback(lock.close)
    return replace(mount, name=name)


def _lock(store: Store, cache: str) -> Path:
    return store.root / "locks" / key_of(cache)[:20]
