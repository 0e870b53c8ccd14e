"""Cache volumes and their sharing modes, across all processes with the same store.

A volume is identified by everything that decides what its users see: its key, its first content,
the owner of that, and how it is shared.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from ci.common import locks
from ci.engine.store.cache import Store, key_of
from ci.engine.values import Mount

#: Returns the ids of a user and group, given as `withMountedCache` gets them.
Owner = Callable[[str], Awaitable[tuple[int, int]]]


@asynccontextmanager
async def held(
    store: Store, mounts: tuple[Mount, ...], owner: Owner
) -> AsyncIterator[tuple[Mount, ...]]:
    """Lock the caches of a command, always in the same order; yield its mounts.

    The name of a cache is that of its volume. Where another command uses a PRIVATE cache, the mount
    gets another volume.
    """
    named = [await _named(mount, owner) if mount.kind == "cache" else mount for mount in mounts]
    async with AsyncExitStack() as stack:
        for name in sorted({mount.name for mount in named if mount.sharing == "LOCKED"}):
            await stack.enter_async_context(locks.held(_lock(store, name)))
        yield tuple(_private(store, mount, stack) for mount in named)


async def _named(mount: Mount, owner: Owner) -> Mount:
    source = (await mount.source()).digest if mount.source else None
    ids = await owner(mount.owner) if mount.owner else None
    if source is None and ids is None and mount.sharing == "SHARED":
        return mount
    return replace(mount, name=f"{mount.name}@{key_of(source, ids, mount.sharing)[:20]}")


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
