"""The contents of the cache, in the store and in the container engine, and their sizes.

A result needs contents, images and volumes; several results may need the same. The size of an
image is that of the layers which it adds to the longest other image below it, so that nothing is
counted twice. Layers of images that are not the engine's own count as 0.
"""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import anyio

from ci.engine.docker.docker_api import (
    CACHE,
    REPOSITORY,
    STORE,
    Daemon,
    DaemonError,
    own_tags,
    real_tags,
)
from ci.engine.errors import CacheError
from ci.engine.store.cache import Store, key_of
from ci.engine.store.tree import FILE

#: Seconds between two attempts to measure while another measurement runs.
PAUSE = 0.2


@dataclass(frozen=True, kw_only=True)
class CachedResult:
    """One result: its last use, and what it needs."""

    key: str
    used: float  # seconds since 1970
    needs: frozenset[str] = frozenset()  # contents by SHA-256, images by id, layers and volumes
    broken: bool = False  # a part that it needs is missing


@dataclass(frozen=True, kw_only=True)
class ImageLayers:
    """The layers of an image."""

    size: int  # all of it, bytes
    layers: tuple[str, ...]
    tags: tuple[str, ...] = ()  # of this store; none for another image
    shared: bool = False  # it also has tags of others: of another store, of the user


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """Everything in the cache."""

    items: tuple[CachedResult, ...]
    contents: Mapping[str, tuple[int, float]]  # SHA-256 -> size, last use
    sizes: Mapping[str, int]  # of everything that a result may need
    images: Mapping[str, ImageLayers] = field(default_factory=dict)
    volumes: Mapping[str, int] = field(default_factory=dict)

    @property
    def unneeded(self) -> set[str]:
        """Contents that no result needs."""
        return self.contents.keys() - self.needed

    @property
    def needed(self) -> frozenset[str]:
        """Everything that any result needs."""
        return frozenset[str]().union(*(item.needs for item in self.items))

    def size(self, names: Collection[str]) -> int:
        """Return the size of a part of the cache, bytes."""
        return sum(self.sizes.get(name, 0) for name in names)


def take_inventory(
    store: Store, images: Mapping[str, ImageLayers], volumes: Mapping[str, int]
) -> Inventory:
    """Return the contents of a store together with images and volumes of the container engine."""
    contents = dict(_contents(store))
    stacks, layer_sizes = layer_stacks(images)
    sizes = {name: size for name, (size, _) in contents.items()} | layer_sizes | dict(volumes)
    names = {tag: image for image, each in images.items() for tag in each.tags}

    @cache
    def inside(tree: str) -> frozenset[str]:
        entries = store.load(tree).entries.values()
        return frozenset(entry.content for entry in entries if entry.kind == FILE)

    def item(key: str, used: float, value: Any) -> CachedResult:
        blobs, trees, others = references(value)
        others = {names.get(name, name) for name in others}
        try:
            blobs |= trees.union(*(inside(tree) for tree in trees))
        except CacheError:
            return CachedResult(key=key, used=used, broken=True)
        needed = blobs.union(others, *(stacks.get(name, ()) for name in others))
        return CachedResult(
            key=key, used=used, needs=frozenset(needed), broken=not blobs <= contents.keys()
        )

    items = tuple(item(*row) for row in store.results())
    return Inventory(items=items, contents=contents, sizes=sizes, images=images, volumes=volumes)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """The number and the size in bytes of each kind."""

    results: tuple[int, int]
    contents: tuple[int, int]
    images: tuple[int, int]
    volumes: tuple[int, int]
    sessions: int  # running, with this cache


def usage(store: Store, found: Inventory, sessions: int) -> Usage:
    """Return numbers and sizes of the contents of the cache."""
    needed = found.needed
    layers = [name for name in needed if name.startswith("layers ")]
    volumes = needed & found.volumes.keys()
    index = sum(path.stat().st_size for path in store.root.glob("*.sqlite*"))
    return Usage(
        results=(len(found.items), index),
        contents=(len(found.contents), found.size(found.contents)),
        images=(len(needed & found.images.keys()), found.size(layers)),
        volumes=(len(volumes), found.size(volumes)),
        sessions=sessions,
    )


def references(value: Any) -> tuple[set[str], set[str], set[str]]:
    """Return the contents, trees, and images or volumes that a value given to `Store.set` names."""
    match value:
        case {"volume": volume}:
            return set(), set(), {volume}
        case {"image": image}:
            streams = {value[name] for name in ("stdout", "stderr", "combined") if name in value}
            layers = {tree for tree, _ in value.get("layers", ())}
            return streams, layers.union(value.get("mounts", {}).values()), {image}
        case str() if value.startswith(f"{REPOSITORY}:"):
            return set(), set(), {value}
        case str():
            return set(), {value}, set()
    return set(), set(), set()


def _contents(store: Store) -> Iterator[tuple[str, tuple[int, float]]]:
    """Yield every content with its size and its last use."""
    for folder in (store.root / "blobs").iterdir():
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # removed by another prune
                found = path.stat()
                yield folder.name + path.name, (found.st_size, found.st_mtime)


# --- the container engine's part ----------------------------------------------------------------
async def images_of(daemon: Daemon, store: Store) -> dict[str, ImageLayers]:
    """Return every image of the container engine by id."""
    found: dict[str, ImageLayers] = {}

    async def look(each: Mapping[str, Any]) -> None:
        known = await daemon.image(each["Id"])
        if known is not None:
            layers, tags = known["RootFS"].get("Layers") or (), own_tags(each, store.identity)
            found[each["Id"]] = ImageLayers(
                size=known["Size"],
                layers=tuple(layers),
                tags=tuple(tags),
                shared=len(tags) < len(real_tags(each)),
            )

    async with anyio.create_task_group() as group:
        for each in await daemon.call(daemon.client.images):
            group.start_soon(look, each)
    return found


async def volumes_of(daemon: Daemon, store: Store) -> dict[str, int]:
    """Return the cache volumes that a store created, with their sizes where they are known.

    All stores use one volume for a cache of the same name, and each may fill it again.
    """
    mine = {"label": [CACHE, f"{STORE}={store.identity}"]}
    found = await daemon.call(daemon.client.volumes, filters=mine)
    sizes = {
        each["Name"]: max(0, (each.get("UsageData") or {}).get("Size", 0))
        for each in await _measured(daemon)
    }
    return {each["Name"]: sizes.get(each["Name"], 0) for each in found["Volumes"] or []}


async def _measured(daemon: Daemon) -> list[dict[str, Any]]:
    client = daemon.client

    def measure() -> list[dict[str, Any]]:
        answer = client._get(client._url("/system/df"), params={"verbose": "1"})
        return measured_volumes(client._result(answer, json=True))

    while True:
        try:
            return await daemon.call(measure)
        except DaemonError as error:
            if "already running" not in str(error):  # Docker 20.10 allows one at a time
                raise
        await anyio.sleep(PAUSE)


def measured_volumes(usage: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the volumes in the answer to `system/df`, which has another form since API 1.52."""
    newer = (usage.get("VolumesUsage") or usage.get("VolumeUsage") or {}).get("Items")
    return list(newer or usage.get("Volumes") or [])


def layer_stacks(
    images: Mapping[str, ImageLayers],
) -> tuple[dict[str, frozenset[str]], dict[str, int]]:
    """Return the stack of layers of each image, and the size that each stack adds."""
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
