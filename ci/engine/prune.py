"""Remove unused parts of the cache.

Results are removed first, in one transaction, then everything that no result needs any more. So an
interrupted prune leaves complete results, and at most contents that the next prune removes.

Running sessions need not stop: reading a result or writing a content updates its last use, and
nothing is removed that was used since the oldest running session began. A session with another
store is visible by its containers only; while one runs, no image and no volume is removed, because
it may use the same.
"""

import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from ci.common import locks
from ci.common.owners import is_dead
from ci.engine.docker.docker_api import CACHE, REPOSITORY, SESSION, STORE, Daemon, own_tags
from ci.engine.options import Options
from ci.engine.store.cache import Store
from ci.engine.usage import (
    CachedResult,
    ImageLayers,
    Inventory,
    Usage,
    images_of,
    take_inventory,
    usage,
    volumes_of,
)

#: Seconds by which a file's time may be behind the clock.
MARGIN = 0.05
_SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_SIZES |= {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_AGES = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass(frozen=True, kw_only=True)
class PrunePolicy:
    """What to remove; by default only what no result needs."""

    older_than: float | None = None  # results not used for this many seconds
    keep: int | None = None  # bytes that stay; the least recently used results are removed first
    everything: bool = False


@dataclass(frozen=True, kw_only=True)
class PruneResult:
    """Numbers of what was removed."""

    results: int
    contents: int
    images: int
    volumes: int
    size: int  # bytes


def select_results(
    found: Inventory, policy: PrunePolicy, now: float, cutoff: float
) -> list[CachedResult]:
    """Return the results to remove, the least recently used first.

    Results used since the cutoff stay under any policy; times are seconds since 1970.
    """
    oldest = 0.0 if policy.older_than is None else now - policy.older_than

    def kept(item: CachedResult) -> bool:
        return not (policy.everything or item.broken or item.used < oldest)

    counts = Counter(name for item in found.items for name in item.needs)
    left = found.size(counts)
    removed = []
    # Results to be removed in any case come first: the others may then fit.
    for item in sorted(found.items, key=lambda item: (kept(item), item.used)):
        full = policy.keep is not None and left > policy.keep
        if item.used < cutoff and (full or not kept(item)):
            removed.append(item)
            counts.subtract(item.needs)
            left -= found.size([name for name in item.needs if not counts[name]])
    return sorted(removed, key=lambda item: item.used)


async def prune(
    store: Store, daemon: Daemon, policy: PrunePolicy, *, exclusive: bool
) -> PruneResult:
    """Remove results and what only they needed; wait for another prune to end first.

    Images and volumes stay unless sessions with this store have `exclusive` use of the daemon.
    """
    client = daemon.client
    async with locks.held(store.root / "locks" / "prune"):
        now = time.time()
        cutoff = min([now, *running_sessions(store).values()]) - MARGIN
        found = await _inventory(store, daemon)
        shared = set() if exclusive else {*found.images, *found.volumes}
        removed = [
            item for item in select_results(found, policy, now, cutoff) if not item.needs & shared
        ]
        kept, contents = remove_results(store, found, removed, cutoff)
        loose = found.needed - kept.needed
        unneeded = loose & found.images.keys()
        if exclusive:
            unneeded |= await untracked_images(daemon, store, kept, cutoff)
        tags = [tag for image in unneeded for tag in removable_names(image, found.images[image])]
        images = [tag for tag in sorted(tags) if await daemon.try_remove(client.remove_image, tag)]
        names = sorted(loose & found.volumes.keys())
        volumes = [name for name in names if await daemon.try_remove(client.remove_volume, name)]
        store.remove_abandoned(cutoff)
    layers = [name for name in loose if name.startswith("layers ")]
    return PruneResult(
        results=len(found.items) - len(kept.items),
        contents=len(contents),
        images=len(images),
        volumes=len(volumes),
        size=found.size([*contents, *volumes, *layers]),
    )


def removable_names(image: str, known: ImageLayers) -> list[str]:
    """Return the names by which an image is removed, without those that others gave it."""
    return list(known.tags) or [image] * (not known.shared)


async def untracked_images(
    daemon: Daemon, store: Store, kept: Inventory, cutoff: float
) -> set[str]:
    """Return images of this store's steps that no result needs: of killed processes, repeated ones.

    They have the label of the store whose session made them; those with a tag of others stay.
    """
    filters = {"label": [f"{STORE}={store.identity}"]}
    found = await daemon.call(daemon.client.images, filters=filters)
    return {
        each["Id"]
        for each in found
        if each["Id"] in kept.images.keys() - kept.needed
        and each["Created"] < cutoff
        and not kept.images[each["Id"]].shared
    }


async def _inventory(store: Store, daemon: Daemon) -> Inventory:
    return take_inventory(store, await images_of(daemon, store), await volumes_of(daemon, store))


async def has_exclusive_use(store: Store, daemon: Daemon) -> bool:
    """Return whether no session with another store has containers in the container engine."""
    filters = {"label": SESSION}
    containers = await daemon.call(daemon.client.containers, all=True, filters=filters)
    sessions = {each["Labels"][SESSION] for each in containers} - set(running_sessions(store))
    return all(is_dead(session) for session in sessions)


def running_sessions(store: Store) -> dict[str, float]:
    """Return the running sessions of a store and when they began, seconds since 1970.

    Files of sessions that have ended are removed.
    """
    began = {}
    for path in (store.root / "sessions").iterdir():
        lock = locks.attempt(path)
        if lock is not None:
            lock.close(remove=True)
        else:
            began[path.read_text(encoding="utf-8")] = path.stat().st_mtime
    return began


def remove_results(
    store: Store, found: Inventory, removed: Iterable[CachedResult], cutoff: float
) -> tuple[Inventory, list[str]]:
    """Remove results, then contents that none needs; return what is left and those contents."""
    store.remove_results((item.key for item in removed), cutoff)
    kept = take_inventory(store, found.images, found.volumes)  # some may have been used since
    return kept, remove_contents(store, kept, cutoff)


def remove_contents(store: Store, kept: Inventory, cutoff: float) -> list[str]:
    """Remove contents that no result needs and that were not used since the cutoff."""
    old = [name for name in kept.unneeded if kept.contents[name][1] < cutoff]
    removed = [name for name in old if _removed(store.path(name), store.root / "tmp", cutoff)]
    store.forget_files(removed)
    return removed


def _removed(path: Path, aside: Path, cutoff: float) -> bool:
    # Hide it first: a process that needs it now writes it again. One that used it before that is
    # seen by the new time, and the content is restored.
    hidden = aside / path.name
    path.rename(hidden)
    if hidden.stat().st_mtime >= cutoff:
        hidden.rename(path)
        return False
    hidden.unlink()
    return True


# --- for programs ------------------------------------------------------------------------------
@asynccontextmanager
async def _opened(options: Options) -> AsyncIterator[tuple[Store, Daemon]]:
    store = Store(options.cache_dir)
    try:
        yield store, await anyio.to_thread.run_sync(Daemon, options.docker, options.labels)
    finally:
        store.close()


async def prune_cache(options: Options, policy: PrunePolicy) -> PruneResult:
    """Prune the cache of these options; raises `EngineError` without a container engine."""
    async with _opened(options) as (store, daemon):
        exclusive = await has_exclusive_use(store, daemon)
        return await prune(store, daemon, policy, exclusive=exclusive)


async def cache_usage(options: Options) -> Usage:
    """Return numbers and sizes of the cache of these options; nothing is changed."""
    async with _opened(options) as (store, daemon):
        found = await _inventory(store, daemon)
        return usage(store, found, len(running_sessions(store)))


async def remove_from_daemon(options: Options) -> list[str]:
    """Remove the images and volumes of the cache of these options; return their names.

    What a container uses stays, and so does what belongs to other caches.
    """
    async with _opened(options) as (store, daemon):
        client, mine = daemon.client, f"{STORE}={store.identity}"
        tagged = await daemon.call(client.images, REPOSITORY)
        images = [tag for each in tagged for tag in own_tags(each, store.identity)]
        filters = {"label": mine, "dangling": True}
        images += [each["Id"] for each in await daemon.call(client.images, filters=filters)]
        volumes = await daemon.call(client.volumes, filters={"label": [CACHE, mine]})
        found = [(name, client.remove_image) for name in images]
        found += [(each["Name"], client.remove_volume) for each in volumes["Volumes"] or []]
        return [name for name, remove in found if await daemon.try_remove(remove, name, force=True)]


# --- sizes and ages ----------------------------------------------------------------------------
def size(text: str) -> int:
    """Return the bytes of `5GB` or `300 MiB`; raises `ValueError`."""
    return int(_quantity(text, _SIZES))


def age(text: str) -> float:
    """Return the seconds of `7d` or `12h`; raises `ValueError`."""
    return float(_quantity(text, _AGES))


def _quantity(text: str, units: dict[str, int]) -> float:
    hit = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    if hit is None or hit[2] not in units:
        known = ", ".join(unit for unit in units if unit)
        raise ValueError(f"{text!r} is not a number with one of the units {known}")
    return float(hit[1]) * units[hit[2]]


def format_size(size: float) -> str:
    """Return a size with its unit, for people."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.0f} {units[0]}" if units[0] == "B" or size >= 100 else f"{size:.1f} {units[0]}"
