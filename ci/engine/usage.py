"""What a store and the container engine keep for each other, and how large it is.

A result holds contents, images and volumes; several results may hold the same. An image's size is
that of the layers which it adds to the longest other image below it, so that nothing is counted
twice; layers of images that are not the engine's own count nothing.
"""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import anyio

from ci.engine.errors import CacheError
from ci.engine.execution.docker_api import CACHE, REPOSITORY, Daemon, DaemonError, own
from ci.engine.store.cache import Store, key_of
from ci.engine.store.tree import FILE

#: Seconds between two looks whether another measurement has ended.
MOMENT = 0.2


@dataclass(frozen=True, kw_only=True)
class Item:
    """One result: when it was used, what only it and its like keep alive."""

    key: str
    used: float  # seconds since 1970
    holds: frozenset[str] = frozenset()  # contents by SHA-256, images by id, layers and volumes
    broken: bool = False  # what it needs is gone, so it is of no use


@dataclass(frozen=True, kw_only=True)
class Layers:
    """An image as its layers."""

    size: int  # all of it, bytes
    layers: tuple[str, ...]
    tags: tuple[str, ...] = ()  # this engine's own; none for an image of others


@dataclass(frozen=True, kw_only=True)
class Holdings:
    """Everything that is kept."""

    items: tuple[Item, ...]
    contents: Mapping[str, tuple[int, float]]  # SHA-256 -> size, last use
    sizes: Mapping[str, int]  # of whatever an item holds
    images: Mapping[str, Layers] = field(default_factory=dict)
    volumes: Mapping[str, int] = field(default_factory=dict)

    @property
    def unheld(self) -> set[str]:
        """Contents that no result holds."""
        return self.contents.keys() - self.held

    @property
    def held(self) -> frozenset[str]:
        """All that any result holds."""
        return frozenset[str]().union(*(item.holds for item in self.items))

    def size(self, names: Collection[str]) -> int:
        """Return how large some of it is, bytes."""
        return sum(self.sizes.get(name, 0) for name in names)


def holdings(store: Store, images: Mapping[str, Layers], volumes: Mapping[str, int]) -> Holdings:
    """Look at everything that a store has, beside what the container engine has."""
    contents = dict(contents_of(store))
    stacks, layer_sizes = stacked(images)
    sizes = {name: size for name, (size, _) in contents.items()} | layer_sizes | dict(volumes)
    names = {tag: image for image, each in images.items() for tag in each.tags}

    @cache
    def inside(tree: str) -> frozenset[str]:
        entries = store.load(tree).entries.values()
        return frozenset(entry.content for entry in entries if entry.kind == FILE)

    def item(key: str, used: float, value: Any) -> Item:
        blobs, trees, others = references(value)
        others = {names.get(name, name) for name in others}
        try:
            blobs |= trees.union(*(inside(tree) for tree in trees))
        except CacheError:
            return Item(key=key, used=used, broken=True)
        holds = blobs.union(others, *(stacks.get(name, ()) for name in others))
        return Item(key=key, used=used, holds=frozenset(holds), broken=not blobs <= contents.keys())

    items = tuple(item(*row) for row in store.results())
    return Holdings(items=items, contents=contents, sizes=sizes, images=images, volumes=volumes)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """How many there are of each kind, and their size in bytes."""

    results: tuple[int, int]
    contents: tuple[int, int]
    images: tuple[int, int]
    volumes: tuple[int, int]
    sessions: int  # that use the cache now


def usage(store: Store, found: Holdings, sessions: int) -> Usage:
    """Return the sizes of what is kept."""
    held = found.held
    layers = [name for name in held if name.startswith("layers ")]
    volumes = held & found.volumes.keys()
    index = sum(path.stat().st_size for path in store.root.glob("*.sqlite*"))
    return Usage(
        results=(len(found.items), index),
        contents=(len(found.contents), found.size(found.contents)),
        images=(len(held & found.images.keys()), found.size(layers)),
        volumes=(len(volumes), found.size(volumes)),
        sessions=sessions,
    )


def references(value: Any) -> tuple[set[str], set[str], set[str]]:
    """Return what a value given to `Store.set` names: contents, trees, images or volumes."""
    match value:
        case {"volume": volume}:
            return set(), set(), {volume}
        case {"image": image}:
            streams = {value[name] for name in ("stdout", "stderr", "combined") if name in value}
            return streams, set(value.get("mounts", {}).values()), {image}
        case str() if value.startswith(f"{REPOSITORY}:"):
            return set(), set(), {value}
        case str():
            return set(), {value}, set()
    return set(), set(), set()


def contents_of(store: Store) -> Iterator[tuple[str, tuple[int, float]]]:
    """Yield every content with its size and its last use."""
    for folder in (store.root / "blobs").iterdir():
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another prune
                found = path.stat()
                yield folder.name + path.name, (found.st_size, found.st_mtime)


# --- the container engine's part ----------------------------------------------------------------
async def images_of(daemon: Daemon) -> dict[str, Layers]:
    """Return every image of the container engine by id."""
    found: dict[str, Layers] = {}

    async def look(each: Mapping[str, Any]) -> None:
        known = await daemon.image(each["Id"])
        if known is not None:
            layers, tags = known["RootFS"].get("Layers") or (), own(each)
            found[each["Id"]] = Layers(size=known["Size"], layers=tuple(layers), tags=tuple(tags))

    async with anyio.create_task_group() as group:
        for each in await daemon.call(daemon.client.images):
            group.start_soon(look, each)
    return found


async def volumes_of(daemon: Daemon) -> dict[str, int]:
    """Return the cache volumes with their sizes, 0 where the container engine does not know."""
    found = await daemon.call(daemon.client.volumes, filters={"label": CACHE})
    sizes = {
        each["Name"]: max(0, (each.get("UsageData") or {}).get("Size", 0))
        for each in await _measured(daemon)
    }
    return {each["Name"]: sizes.get(each["Name"], 0) for each in found["Volumes"] or []}


async def _measured(daemon: Daemon) -> list[dict[str, Any]]:
    while True:
        try:
            return (await daemon.call(daemon.client.df))["Volumes"] or []
        except DaemonError as error:
            if "already running" not in str(error):  # Docker 20.10 measures for one at a time
                raise
        await anyio.sleep(MOMENT)


def stacked(images: Mapping[str, Layers]) -> tuple[dict[str, frozenset[str]], dict[str, int]]:
    """Return what each image stands on, itself included, and how much each of these adds."""
    known: dict[tuple[str, ...], tuple[frozenset[str], int]] = {(): (frozenset(), 0)}
    stacks: dict[str, frozenset[str]] = {}
    sizes: dict[str, int] = {}
    for image, each in sorted(images.items(), key=lambda i: (len(i[1].layers), bool(i[1].tags))):
        count = next(n for n in range(len(each.layers), -1, -1) if each.layers[:n] in known)
        below, size = known[each.layers[:count]]
        if count < len(each.layers):
            name = f"layers {key_of(each.layers)}"
            sizes[name] = max(0, each.size - size) if each.tags else 0
            below |= {name}
            known[each.layers] = below, each.size
        stacks[image] = below
    return stacks, sizes
