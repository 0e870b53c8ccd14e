"""A container's files as Docker has them: an image, and edits that are in no image yet.

An edit becomes one image layer, the same bytes for the same content. Docker loads a layer beside
those that it has already, so an edit needs no container. Links in a path are resolved first: a
layer with `lib/x` would replace a link `lib`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from posixpath import dirname, join
from typing import Any

from ci.engine.errors import EngineError
from ci.engine.execution.docker_api import Daemon
from ci.engine.execution.layers import Layers
from ci.engine.store import archive
from ci.engine.store.cache import Store, key_of
from ci.engine.store.patterns import parents
from ci.engine.store.tree import (
    DIRECTORY,
    FOLDER,
    Entry,
    Tree,
    clean,
    follow_links,
    not_found,
    put,
    remove,
    without,
)

CREATED = "1980-01-01T00:00:00Z"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What one edit changes, by canonical paths without leading slash."""

    entries: dict[str, Entry]
    removed: frozenset[str] = frozenset()

    def hides(self, path: str) -> bool:
        """Return whether this layer hides what the layers below have at a path."""
        while path:
            if path in self.removed:
                return True
            path = dirname(path)
            if path in self.entries and self.entries[path].kind != DIRECTORY:
                return True
        return False


@dataclass(frozen=True, kw_only=True)
class State:
    """A container's files: an image of Docker's, and layers that are in no image yet."""

    image: str = ""
    layers: tuple[Layer, ...] = ()


class Rootfs:
    """Reads states and creates images of them."""

    def __init__(self, store: Store, daemon: Daemon) -> None:
        self.store = store
        self.daemon = daemon
        self._image_entries: dict[tuple[str, str], Entry | None] = {}
        self.layers = Layers(store, daemon)

    # --- reading ----------------------------------------------------------------------------
    async def entry_at(self, state: State, path: str) -> Entry | None:
        """Return the entry at a canonical path, None where nothing is there."""
        if not path:
            return FOLDER
        for layer in reversed(state.layers):
            if path in layer.entries:
                return layer.entries[path]
            if layer.hides(path):
                return None
        return await self._image_entry(state.image, path)

    async def _image_entry(self, image: str, path: str) -> Entry | None:
        if not image:
            return None
        place = (image, path)
        if place not in self._image_entries:
            key = key_of("entry", *place)
            known = self.store.get(key)
            if known is None:
                found = await self.daemon.read_entry(image, path)
                known = [list(found) if found else None]
                self.store.set(key, known)
            self._image_entries[place] = Entry(*known[0]) if known[0] else None
        return self._image_entries[place]

    async def resolve(
        self, state: State, path: str, *, follow: bool = True
    ) -> tuple[str, dict[str, Entry]]:
        """Resolve the links in a path as a process in the container does.

        Returns:
            The canonical path, which may not exist, and those directories above it that exist.
        """
        way = follow_links(path, follow=follow)
        seen: dict[str, Entry] = {}
        done = ""
        try:
            place = next(way)
            while True:
                entry = await self.entry_at(state, place)
                if entry is not None:
                    seen[place] = entry
                place = way.send(entry)
        except StopIteration as end:
            done = str(end.value)
        return done, {place: entry for place, entry in seen.items() if done.startswith(place + "/")}

    async def tree(self, state: State, path: str) -> Tree:
        """Return the file or directory at a path with everything below it.

        Raises:
            EngineError: nothing is at that path.
        """
        place, _ = await self.resolve(state, path)
        tree = await self._image_tree(state.image, place) if state.image else None
        for layer in state.layers:
            tree = overlay(tree, layer, place)
        if tree is None:
            raise not_found(path)
        return tree if place else Tree({p: e for p, e in tree.entries.items() if p != ".dockerenv"})

    async def _image_tree(self, image: str, place: str) -> Tree | None:
        key = key_of("tree", image, place)
        if known := self.store.get_tree(key):
            return known
        tree = await self.daemon.read_image(
            image, place, lambda chunks: archive.receive(self.store, chunks)
        )
        if tree is not None:
            self.store.set(key, self.store.save(tree))
        return tree

    # --- editing ----------------------------------------------------------------------------
    async def addition_layer(self, state: State, path: str, source: Tree) -> Layer:
        """Return the layer that puts a tree at a path."""
        place, above = await self.resolve(state, path)
        entries = dict.fromkeys(parents(place), FOLDER) | above
        hidden: set[str] = set()  # new directories: nothing exists below them
        for name, entry in sorted(source.entries.items()):
            target = join(place, name) if name else place
            if entry.kind == DIRECTORY and dirname(target) not in hidden:
                old = await self.entry_at(state, target)
                if old is not None and old.kind == DIRECTORY:
                    entries[target] = old  # keeps its mode and owner
                    continue
            if entry.kind == DIRECTORY:
                hidden.add(target)
            entries[target] = entry
        entries.pop("", None)
        return Layer(entries=entries)

    async def removal_layer(self, state: State, path: str, expect: str) -> Layer:
        """Return the layer that removes a path; an empty one if nothing is there."""
        folder, name = dirname("/" + clean(path)), clean(path).rpartition("/")[2]
        if any(sign in name for sign in "*?["):
            tree = remove(before := await self.tree(state, folder), [name])
            base, above = await self.resolve(state, folder)
            gone = {join(base, p) for p in before.entries if p not in tree.entries and "/" not in p}
            return Layer(entries=above, removed=frozenset(gone))
        place, above = await self.resolve(state, path, follow=False)
        entry = await self.entry_at(state, place)
        if entry is None:
            return Layer(entries={})
        if expect == "f" and entry.kind == DIRECTORY:
            raise EngineError(f"{path}: is a directory; remove it with withoutDirectory")
        return Layer(entries=above, removed=frozenset({place}))

    async def owner(self, state: State, text: str) -> tuple[int, int]:
        """Return the ids of `user:group`; names are looked up in the container's own tables."""
        user, _, group = text.partition(":")
        uid, main = await self._id(state, "/etc/passwd", user)
        if not group:
            return uid, uid if user.isdigit() else main
        return uid, (await self._id(state, "/etc/group", group))[0]

    async def _id(self, state: State, table: str, name: str) -> tuple[int, int]:
        if name.isdigit():
            return int(name), int(name)
        text = self.store.read((await self.tree(state, table)).root.content).decode()
        for line in text.splitlines():
            fields = line.split(":")
            if fields[0] == name:
                return int(fields[2]), int(fields[3]) if fields[3].isdigit() else 0
        raise EngineError(f"{name!r} is not in {table} of the container; use a number")

    # --- images -----------------------------------------------------------------------------
    async def image(self, state: State) -> str:
        """Return an image of a state, without configuration."""
        return await self.compose(state, {}) if state.layers or not state.image else state.image

    async def compose(self, state: State, config: dict[str, Any]) -> str:
        """Return an image of a state and a configuration; equal input has the same id."""
        layers: dict[str, Path | None] = dict.fromkeys(await self.layers.diff_ids(state.image))
        for layer in state.layers:
            digest, path = await self._pack(layer)
            layers[f"sha256:{digest}"] = path
        body = {
            "architecture": self.daemon.architecture,
            "os": "linux",
            "created": CREATED,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": list(layers)},
            "history": [{"created": CREATED, "created_by": "acso"} for _ in layers],
        }
        data = json.dumps(body, sort_keys=True).encode()
        return await self.layers.load(data, layers, state.image)

    async def _pack(self, layer: Layer) -> tuple[str, Path]:
        chunks = archive.layer(self.store, layer.entries, layer.removed)
        digest, _ = await self.daemon.call(self.store.write, chunks)
        return digest, self.store.path(digest)


def overlay(tree: Tree | None, layer: Layer, place: str) -> Tree | None:
    """Return the tree at a place after a layer is applied over the tree that was there."""
    if layer.hides(place):
        tree = None
    prefix = place + "/" if place else ""
    own = {p[len(prefix) :]: e for p, e in layer.entries.items() if p.startswith(prefix)}
    if place and place in layer.entries:
        own[""] = layer.entries[place]
    removed = [p[len(prefix) :] for p in layer.removed if p.startswith(prefix)]
    if tree is None:
        return Tree({"": FOLDER, **own}) if own else None
    return put(Tree(without(tree.entries, removed)), "", Tree(own))
