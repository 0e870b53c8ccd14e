"""Cache volumes that one command at a time may use, in all processes with the same store."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from ci.engine import locks
from ci.engine.store import Store, key_of
from ci.engine.values import Mount, Ran


@asynccontextmanager
async def held(store: Store, ran: Ran) -> AsyncIterator[Ran]:
    """Hold a command's caches, always in the same order; gives the command with what it got.

    A PRIVATE cache that another command has is left alone: this one gets a volume beside it.
    """
    own, mounts = {m.name for m in ran.before.mounts if m.sharing == "LOCKED"}, []
    async with AsyncExitStack() as stack:
        for name in sorted(own):
            await stack.enter_async_context(locks.held(_lock(store, name)))
        for mount in ran.before.mounts:
            private = mount.kind == "cache" and mount.sharing == "PRIVATE"
            mounts.append(_private(store, mount, stack) if private else mount)
        yield replace(ran, before=replace(ran.before, mounts=tuple(mounts)))


def _private(store: Store, mount: Mount, stack: AsyncExitStack) -> Mount:
    name, number = mount.name, 0
    while (lock := locks.take(_lock(store, name), wait=False)) is None:
        number += 1
        name = f"{mount.name}#{number}"
    stack.callback(lock.release)
    return replace(mount, name=name)


def _lock(store: Store, cache: str) -> Path:
    return store.root / "locks" / key_of(cache)[:20]
