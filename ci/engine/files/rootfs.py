"""A container's files as Docker has them: an image, and edits that are in no image yet.

An edit becomes an image layer, the same bytes for the same content. Docker loads a layer beside
those that it has already, so an edit needs no container. Edits in a row are merged, and an image
with almost as many layers as Docker allows gets one in place of most of them.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from posixpath import relpath
from typing import Any

from ci.engine.docker.docker_api import Daemon
from ci.engine.docker.layers import LayerFiles, Layers
from ci.engine.store import archive, overlay
from ci.engine.store.cache import CHUNK, Store, key_of
from ci.engine.store.edits import resolve
from ci.engine.store.overlay import Layer
from ci.engine.store.patterns import parents
from ci.engine.store.tree import DIRECTORY, FOLDER, LINK, Entry, Tree, not_found

CREATED = "1980-01-01T00:00:00Z"
#: Layers of an image above which most of them are merged; Docker allows 125.
MAX_LAYERS, KEPT_LAYERS = 100, 20
#: Paths that Docker adds to every container; their times say nothing about a step.
DOCKERS_OWN = (
    *("dev/console", "dev/pts", "dev/shm", "dev", "proc", "sys"),
    *("etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf"),
)
#: Empty files by which Docker and Podman mark a container; they are no files of an image.
MARKS = (".dockerenv", "run/.containerenv")


#: The tree of a layer's entries in the store, and the paths that it removes.
SavedLayer = tuple[str, list[str]]


@dataclass(frozen=True, kw_only=True)
class State:
    """A container's files: an image of Docker's, and layers that are in no image yet."""

    image: str = ""
    layers: tuple[Layer, ...] = ()

    def after(self, layer: Layer) -> "State":
        """Return the state with a layer on top.

        It is merged with those below it that are not much larger: so there are few layers, each
        path is copied few times, and a large layer stays the same for all that is laid over it.
        """
        layers = list(self.layers)
        while layers and layers[-1].size <= 2 * layer.size:
            layer = overlay.merge(layers.pop(), layer)
        return State(image=self.image, layers=(*layers, layer) if layer.size else self.layers)

    @property
    def size(self) -> int:
        """The number of paths in its layers."""
        return sum(layer.size for layer in self.layers)


class Rootfs:
    """Reads states and creates images of them."""

    def __init__(self, store: Store, daemon: Daemon) -> None:
        self.store = store
        self.daemon = daemon
        self._image_entries: dict[tuple[str, str], Entry | None] = {}
        self.layers = Layers(store, daemon)

    # --- reading ----------------------------------------------------------------------------
    def view(self, state: State) -> "StateView":
        """Return a state as a view for edits."""
        return StateView(self, state)

    async def entry_at(self, state: State, path: str) -> Entry | None:
        """Return the entry at a canonical path, None where nothing is there."""
        for layer in reversed(state.layers):
            if path in layer.entries:
                return layer.entries[path]
            if layer.hides(path):
                return None
        return await self._image_entry(state.image, path) if path else FOLDER

    async def _image_entry(self, image: str, path: str) -> Entry | None:
        place = (image, path)
        if not image or self._is_below_nothing(image, path):
            return None
        if place not in self._image_entries:
            key = key_of("entry", *place)
            known = self.store.get(key)
            if known is None:
                found = await self.daemon.read_entry(image, path)
                known = [list(found) if found else None]
                self.store.set(key, known)
            self._image_entries[place] = Entry(*known[0]) if known[0] else None
        return self._image_entries[place]

    def _is_below_nothing(self, image: str, path: str) -> bool:
        """Return whether a path is known to be below something that is no directory of an image."""
        known = (each for each in parents(path) if (image, each) in self._image_entries)
        nearest = next(known, None)
        above = FOLDER if nearest is None else self._image_entries[image, nearest]
        return above is None or above.kind != DIRECTORY

    async def tree(self, state: State, path: str) -> Tree:
        """Return the file or directory at a path with everything below it.

        Raises:
            EngineError: nothing is at that path.
        """
        place, _ = await resolve(self.view(state), path)
        tree = await self.tree_at(state, place)
        if tree is None:
            raise not_found(path)
        return tree

    async def tree_at(self, state: State, place: str) -> Tree | None:
        """Return what is at a canonical path, None where nothing is."""
        tree = await self._image_tree(state.image, place) if state.image else None
        for layer in state.layers:
            tree = overlay.part(layer, place, tree)
        return tree if tree or place else Tree()

    async def _image_tree(self, image: str, place: str) -> Tree | None:
        key = key_of("tree", image, place)
        if known := self.store.get_tree(key):
            return known
        tree = await self.daemon.read_image(
            image, place, lambda chunks: archive.receive(self.store, chunks)
        )
        if tree is None:
            return None
        tree = without_dockers_own(tree, place)
        self.store.set(key, self.store.save(tree))
        return tree

    # --- results ----------------------------------------------------------------------------
    def saved(self, state: State) -> list[SavedLayer]:
        """Put the layers of a state into the store, for `loaded`."""
        save = self.store.save_small
        return [(save(Tree(each.entries)), sorted(each.removed)) for each in state.layers]

    def loaded(self, image: str, layers: Iterable[SavedLayer]) -> State:
        """Return a state of an image and saved layers; raises `CacheError` if one is missing."""
        load = self.store.load
        return State(
            image=image,
            layers=tuple(
                Layer(entries=load(tree).entries, removed=frozenset(removed))
                for tree, removed in layers
            ),
        )

    # --- images -----------------------------------------------------------------------------
    async def image(self, state: State) -> str:
        """Return an image of a state, without configuration."""
        if not state.image or state.layers or len(await self._diff_ids(state)) > MAX_LAYERS:
            return await self.compose(state, {})
        return state.image

    async def compose(self, state: State, config: dict[str, Any], *, pushed: bool = False) -> str:
        """Return an image of a state and a configuration; equal input has the same id.

        `pushed` says that it is for a registry.
        """
        layers = await self._layers(state)
        return await self._load(state.image, layers, config, pushed=pushed)

    async def _layers(self, state: State) -> LayerFiles:
        ids = await self._diff_ids(state)
        known: LayerFiles = [(diff, None) for diff in ids]
        if len(ids) + len(state.layers) > MAX_LAYERS:
            kept, merged = known[:KEPT_LAYERS], await self._merged(state)
            below = State(image=await self._load(state.image, kept, {}) if merged.removed else "")
            return [*kept, await self._pack(await self._effective(below, merged))]
        below = State(image=state.image)
        added = []
        for layer in state.layers:
            added.append(await self._pack(await self._effective(below, layer)))
            below = replace(below, layers=(*below.layers, layer))
        return [*known, *added]

    async def _effective(self, below: State, layer: Layer) -> Layer:
        """Return a layer that removes only what is below it, and everything once.

        In a directory that no layer below has, or that hides them, overlayfs lists other removed
        names as files.
        """
        once = [path for path in layer.removed if layer.removed.isdisjoint(parents(path))]
        removed = {path for path in once if await self.entry_at(below, path)}
        return replace(layer, removed=frozenset(removed))

    async def _load(
        self, below: str, layers: LayerFiles, config: dict[str, Any], *, pushed: bool = False
    ) -> str:
        body = {
            "architecture": self.daemon.architecture,
            "os": "linux",
            "created": CREATED,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [diff for diff, _ in layers]},
            "history": [{"created": CREATED, "created_by": "acso"} for _ in layers],
        }
        data = json.dumps(body, sort_keys=True).encode()
        return await self.layers.load(data, layers, below, pushed=pushed)

    async def _diff_ids(self, state: State) -> list[str]:
        return await self.layers.diff_ids(state.image)

    async def _merged(self, state: State) -> Layer:
        """Return the one layer of all but the lowest layers of a state."""
        merged = Layer()
        for _, path in (await self.layers.files(state.image))[KEPT_LAYERS:]:
            merged = overlay.merge(merged, await self.daemon.call(self._unpack, path))
        for layer in state.layers:
            merged = overlay.merge(merged, layer)
        return merged

    def _unpack(self, path: Path) -> Layer:
        with path.open("rb") as file:
            return archive.receive_layer(self.store, iter(partial(file.read, CHUNK), b""))

    async def _pack(self, layer: Layer) -> tuple[str, Path]:
        """Return a layer's diff id and file: new files in it have the time of its first use."""
        key = key_of("made", Tree(layer.entries).key, sorted(layer.removed))
        made = (self.store.get(key) or {}).get("made") or int(time.time())
        self.store.set(key, {"made": made})
        chunks = archive.layer(self.store, layer, made)
        digest, _ = await self.daemon.call(self.store.write, chunks)
        return f"sha256:{digest}", self.store.path(digest)


class StateView:
    """A state as edits see it."""

    def __init__(self, rootfs: Rootfs, state: State) -> None:
        self._rootfs = rootfs
        self._state = state

    async def entry(self, place: str) -> Entry | None:
        """Return the entry at a place."""
        return await self._rootfs.entry_at(self._state, place)

    async def below(self, place: str) -> Tree:
        """Return what is at a place."""
        tree = await self._rootfs.tree_at(self._state, place)
        if tree is None:
            raise not_found(place)
        return tree


def without_dockers_own(tree: Tree, place: str) -> Tree:
    """Return the tree at a place without what Docker adds, and its times where it must stay."""
    entries = dict(tree.entries)
    for path in MARKS:
        inner = relpath(path, place or ".")
        if inner in entries and not entries[inner].size:
            del entries[inner]
    for path in DOCKERS_OWN:
        inner = relpath(path, place or ".")
        if inner in entries and (entries[inner].kind == LINK or not entries[inner].size):
            entries[inner] = entries[inner]._replace(mtime=None)
    return Tree(entries)
