"""Forgetting what was not used for long.

First results are forgotten, in one transaction, then what no result holds any more is removed. So
a prune that ends early leaves whole results, and at most things that the next one removes.

What is in use is safe without stopping anybody: reading a result or writing a content marks it as
used, and nothing goes that was used since the oldest running session began. Sessions that begin
meanwhile are younger than that. A session with another store is known by its containers alone;
while there is one, no image and no volume goes, as it may use the same.
"""

import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from ci.engine import locks
from ci.engine.execution.docker_api import SESSION, Daemon
from ci.engine.options import Options
from ci.engine.session_names import dead
from ci.engine.store.cache import Store
from ci.engine.usage import Holdings, Item, Usage, holdings, images_of, usage, volumes_of

#: Seconds by which a file's time may lie behind the clock.
MARGIN = 0.05
_SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_SIZES |= {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_AGES = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to be forgotten; nothing by default but what no result holds."""

    older_than: float | None = None  # not used for so many seconds
    keep: int | None = None  # bytes that may stay; what was used longest ago goes first
    everything: bool = False


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What went."""

    results: int
    contents: int
    images: int
    volumes: int
    size: int  # bytes


def chosen(found: Holdings, wish: Wish, now: float, cutoff: float) -> list[Item]:
    """Return the results to forget, that used longest ago first.

    What was used since the cutoff stays, whatever is wished; times are seconds since 1970.
    """
    oldest = 0.0 if wish.older_than is None else now - wish.older_than

    def kept(item: Item) -> bool:
        return not (wish.everything or item.broken or item.used < oldest)

    counts = Counter(name for item in found.items for name in item.holds)
    left = found.size(counts)
    gone = []
    # What goes in any case goes first: it may leave room enough for the others.
    for item in sorted(found.items, key=lambda item: (kept(item), item.used)):
        full = wish.keep is not None and left > wish.keep
        if item.used < cutoff and (full or not kept(item)):
            gone.append(item)
            counts.subtract(item.holds)
            left -= found.size([name for name in item.holds if not counts[name]])
    return sorted(gone, key=lambda item: item.used)


async def prune(store: Store, daemon: Daemon, wish: Wish, *, alone: bool) -> Pruned:
    """Forget results and remove what only they held; wait for another prune to end first.

    Images and volumes stay unless sessions with this store are `alone` on the daemon.
    """
    client = daemon.client
    async with locks.held(store.root / "locks" / "prune"):
        now = time.time()
        cutoff = min([now, *running(store).values()]) - MARGIN
        found = holdings(store, await images_of(daemon), await volumes_of(daemon))
        shared = set() if alone else {*found.images, *found.volumes}
        gone = [item for item in chosen(found, wish, now, cutoff) if not item.holds & shared]
        kept, contents = forget(store, found, gone, cutoff)
        loose = found.held - kept.held
        tags = [tag for image in loose & found.images.keys() for tag in found.images[image].tags]
        images = [tag for tag in sorted(tags) if await daemon.gone(client.remove_image, tag)]
        names = sorted(loose & found.volumes.keys())
        volumes = [name for name in names if await daemon.gone(client.remove_volume, name)]
        store.sweep(cutoff)
    layers = [name for name in loose if name.startswith("layers ")]
    return Pruned(
        results=len(found.items) - len(kept.items),
        contents=len(contents),
        images=len(images),
        volumes=len(volumes),
        size=found.size([*contents, *volumes, *layers]),
    )


async def alone(store: Store, daemon: Daemon) -> bool:
    """Whether no session with another store has containers in the container engine."""
    filters = {"label": SESSION}
    containers = await daemon.call(daemon.client.containers, all=True, filters=filters)
    sessions = {each["Labels"][SESSION] for each in containers} - set(running(store))
    return all(dead(session) for session in sessions)


def running(store: Store) -> dict[str, float]:
    """Return the sessions that use a store and when they began; forget the dead.

    Times are seconds since 1970.
    """
    began = {}
    for path in (store.root / "sessions").iterdir():
        lock = locks.attempt(path)
        if lock is not None:
            lock.close(remove=True)
        else:
            began[path.read_text(encoding="utf-8")] = path.stat().st_mtime
    return began


def forget(
    store: Store, found: Holdings, gone: Iterable[Item], cutoff: float
) -> tuple[Holdings, list[str]]:
    """Forget results, then remove the contents that none holds; return what is left, what went."""
    store.drop((item.key for item in gone), cutoff)
    kept = holdings(store, found.images, found.volumes)  # some of them may be in use by now
    return kept, remove_contents(store, kept, cutoff)


def remove_contents(store: Store, kept: Holdings, cutoff: float) -> list[str]:
    """Remove contents that no result holds and nobody used since the cutoff."""
    old = [name for name in kept.unheld if kept.contents[name][1] < cutoff]
    gone = [name for name in old if _removed(store.path(name), store.root / "tmp", cutoff)]
    store.forget(gone)
    return gone


def _removed(path: Path, aside: Path, cutoff: float) -> bool:
    # Out of sight first: who looks now writes it anew; who used it in between gets it back.
    hidden = aside / path.name
    path.rename(hidden)
    if hidden.stat().st_mtime >= cutoff:
        hidden.rename(path)
        return False
    hidden.unlink()
    return True


# --- for a program ------------------------------------------------------------------------------
@asynccontextmanager
async def _opened(options: Options) -> AsyncIterator[tuple[Store, Daemon]]:
    store = Store(options.cache_dir)
    try:
        yield store, await anyio.to_thread.run_sync(Daemon, options.docker, options.labels)
    finally:
        store.close()


async def pruned(options: Options, wish: Wish) -> Pruned:
    """Prune the cache of sessions with these options; raises `EngineError` without a daemon."""
    async with _opened(options) as (store, daemon):
        return await prune(store, daemon, wish, alone=await alone(store, daemon))


async def used(options: Options) -> Usage:
    """Return the size of the cache of sessions with these options; nothing is changed."""
    async with _opened(options) as (store, daemon):
        found = holdings(store, await images_of(daemon), await volumes_of(daemon))
        return usage(store, found, len(running(store)))


# --- words --------------------------------------------------------------------------------------
def size(text: str) -> int:
    """Return the bytes that `5GB` or `300 MiB` means; raises `ValueError`."""
    return int(_measured(text, _SIZES))


def age(text: str) -> float:
    """Return the seconds that `7d` or `12h` means; raises `ValueError`."""
    return float(_measured(text, _AGES))


def _measured(text: str, units: dict[str, int]) -> float:
    hit = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    if hit is None or hit[2] not in units:
        known = ", ".join(unit for unit in units if unit)
        raise ValueError(f"{text!r} is no number with one of {known}")
    return float(hit[1]) * units[hit[2]]


def shown(size: float) -> str:
    """Return bytes as people read them."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.0f} {units[0]}" if units[0] == "B" or size >= 100 else f"{size:.1f} {units[0]}"
