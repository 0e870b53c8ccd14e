"""From a container's chain of files to something Docker has: an image, and edits not yet in one.

An edit becomes one image layer of its own, the same bytes for the same content. A layer is
loaded beside the layers that Docker has already, so it costs no container. Paths are followed
through the image's links first: a layer that held `lib/x` would replace a link `lib`.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from posixpath import dirname, join
from typing import Any

from ci.engine.errors import EngineError
from ci.engine.execution.docker_api import REPOSITORY, Daemon, DaemonError
from ci.engine.store import archive
from ci.engine.store.cache import Store, key_of
from ci.engine.store.patterns import parents
from ci.engine.store.tree import (
    DIRECTORY,
    FOLDER,
    Entry,
    Tree,
    clean,
    followed,
    missing,
    put,
    remove,
    without,
)

CREATED = "1980-01-01T00:00:00Z"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What one edit changes: canonical paths without leading slash."""

    entries: dict[str, Entry]
    removed: frozenset[str] = frozenset()

    def hides(self, path: str) -> bool:
        """Whether nothing of the layers below shows at a path."""
        while path:
            if path in self.removed:
                return True
            path = dirname(path)
            if path in self.entries and self.entries[path].kind != DIRECTORY:
                return True
        return False


@dataclass(frozen=True, kw_only=True)
class State:
    """Files as they are now: an image of Docker's and layers that are in none yet."""

    image: str = ""
    layers: tuple[Layer, ...] = ()


class Rootfs:
    """Looks into states and makes images of them."""

    def __init__(self, store: Store, daemon: Daemon) -> None:
        self.store = store
        self.daemon = daemon
        self._peeked: dict[tuple[str, str], Entry | None] = {}
        self._diffs: dict[str, list[str]] = {}

    # --- looking ----------------------------------------------------------------------------
    async def at(self, state: State, path: str) -> Entry | None:
        """Return what is at a canonical path."""
        if not path:
            return FOLDER
        for layer in reversed(state.layers):
            if path in layer.entries:
                return layer.entries[path]
            if layer.hides(path):
                return None
        return await self._in_image(state.image, path)

    async def _in_image(self, image: str, path: str) -> Entry | None:
        if not image:
            return None
        place = (image, path)
        if place not in self._peeked:
            key = key_of("peek", *place)
            known = self.store.get(key)
            if known is None:
                found = await self.daemon.peek(image, path)
                known = [list(found) if found else None]
                self.store.set(key, known)
            self._peeked[place] = Entry(*known[0]) if known[0] else None
        return self._peeked[place]

    async def resolve(
        self, state: State, path: str, *, follow: bool = True
    ) -> tuple[str, dict[str, Entry]]:
        """Follow the links in a path as a process in the container would.

        Returns:
            The canonical path, which need not exist, and the directories above it that do.
        """
        way = followed(path, follow=follow)
        seen: dict[str, Entry] = {}
        done = ""
        try:
            place = next(way)
            while True:
                entry = await self.at(state, place)
                if entry is not None:
                    seen[place] = entry
                place = way.send(entry)
        except StopIteration as end:
            done = str(end.value)
        return done, {place: entry for place, entry in seen.items() if done.startswith(place + "/")}

    async def tree(self, state: State, path: str) -> Tree:
        """Return the file or directory at a path with everything below it.

        Raises:
            EngineError: there is nothing at that path.
        """
        place, _ = await self.resolve(state, path)
        tree = await self._image_tree(state.image, place) if state.image else None
        for layer in state.layers:
            tree = overlaid(tree, layer, place)
        if tree is None:
            raise missing(path)
        return tree if place else Tree({p: e for p, e in tree.entries.items() if p != ".dockerenv"})

    async def _image_tree(self, image: str, place: str) -> Tree | None:
        key = key_of("tree", image, place)
        if known := self.store.kept(key):
            return known
        tree = await self.daemon.look(
            image, place, lambda chunks: archive.receive(self.store, chunks)
        )
        if tree is not None:
            self.store.set(key, self.store.save(tree))
        return tree

    # --- editing ----------------------------------------------------------------------------
    async def laid(self, state: State, path: str, source: Tree) -> Layer:
        """Return the layer that puts a tree at a path."""
        place, above = await self.resolve(state, path)
        entries = dict.fromkeys(parents(place), FOLDER) | above
        hidden: set[str] = set()  # directories that are new, so nothing below them exists
        for name, entry in sorted(source.entries.items()):
            target = join(place, name) if name else place
            if entry.kind == DIRECTORY and dirname(target) not in hidden:
                old = await self.at(state, target)
                if old is not None and old.kind == DIRECTORY:
                    entries[target] = old  # keeps its mode and owner
                    continue
            if entry.kind == DIRECTORY:
                hidden.add(target)
            entries[target] = entry
        entries.pop("", None)
        return Layer(entries=entries)

    async def removed(self, state: State, path: str, expect: str) -> Layer:
        """Return the layer that removes a path; removing what is not there is no change."""
        folder, name = dirname("/" + clean(path)), clean(path).rpartition("/")[2]
        if any(sign in name for sign in "*?["):
            tree = remove(before := await self.tree(state, folder), [name])
            base, above = await self.resolve(state, folder)
            gone = {join(base, p) for p in before.entries if p not in tree.entries and "/" not in p}
            return Layer(entries=above, removed=frozenset(gone))
        place, above = await self.resolve(state, path, follow=False)
        entry = await self.at(state, place)
        if entry is None:
            return Layer(entries={})
        if expect == "f" and entry.kind == DIRECTORY:
            raise EngineError(f"{path}: is a directory")
        return Layer(entries=above, removed=frozenset({place}))

    async def owner(self, state: State, text: str) -> tuple[int, int]:
        """Return the ids that `user:group` means in a container, names by its own tables."""
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
        raise EngineError(f"{table} of the container knows no {name!r}")

    # --- images -----------------------------------------------------------------------------
    async def image(self, state: State) -> str:
        """Return an image that holds a state and no configuration."""
        return await self.composed(state, {}) if state.layers or not state.image else state.image

    async def composed(self, state: State, config: dict[str, Any]) -> str:
        """Return an image with a state's files and a configuration; the same ones, the same id."""
        layers: dict[str, Path | None] = dict.fromkeys(await self.diffs(state.image))
        for layer in state.layers:
            digest, path = await self.packed(layer)
            layers[f"sha256:{digest}"] = path
        body = {
            "architecture": self.daemon.architecture,
            "os": "linux",
            "created": CREATED,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": list(layers)},
            "history": [{"created": CREATED, "created_by": "acso"} for _ in layers],
        }
        return await self.loaded(json.dumps(body, sort_keys=True).encode(), layers, state.image)

    async def loaded(self, data: bytes, layers: dict[str, Path | None], image: str) -> str:
        """Return the image of a configuration and layers; given to Docker unless it has that.

        Layers that Docker has in another image are sent only where it insists on them.
        """
        name = hashlib.sha256(data).hexdigest()
        if await self.daemon.image(f"{REPOSITORY}:{name[:40]}") is None:
            await self._load(data, name, layers, image)
        self.store.set(key_of("image", name), {"image": f"sha256:{name}"})  # used, says prune
        return f"sha256:{name}"

    async def _load(
        self, data: bytes, name: str, layers: dict[str, Path | None], image: str
    ) -> None:
        tag = f"{REPOSITORY}:{name[:40]}"
        try:
            await self.daemon.load(archive.image(data, name, tag, layers))
        except DaemonError:
            if not image or await self.daemon.image(image) is None:
                raise
            whole = {**layers, **await self.layers(image)}
            await self.daemon.load(archive.image(data, name, tag, {k: whole[k] for k in layers}))

    async def diffs(self, image: str) -> list[str]:
        """Return the diff ids of an image's layers, lowest first."""
        if not image:
            return []
        if image not in self._diffs:
            found = await self.daemon.image(image)
            if found is None:
                raise EngineError(f"image {image} is gone from the container engine")
            self._diffs[image] = found["RootFS"].get("Layers") or []
        return self._diffs[image]

    async def packed(self, layer: Layer) -> tuple[str, Path]:
        """Return a layer's digest and its file."""
        chunks = archive.layer(self.store, layer.entries, layer.removed)
        digest, _ = await self.daemon.call(self.store.write, chunks)
        return digest, self.store.path(digest)

    async def layers(self, image: str) -> dict[str, Path]:
        """Return every layer of an image as a file, by diff id; fetched whole the first time."""
        wanted = await self.diffs(image)
        paths = {diff: self.store.path(diff.partition(":")[2]) for diff in wanted}
        if not all(path.exists() for path in paths.values()):
            await self.daemon.save(image, lambda chunks: _keep_layers(self.store, chunks))
        return paths


def _keep_layers(store: Store, chunks: Iterable[bytes]) -> None:
    for _, file in archive.members(chunks):
        if file is not None:
            store.add(file)


def overlaid(tree: Tree | None, layer: Layer, place: str) -> Tree | None:
    """Return what shows at a place when a layer comes over what was there."""
    if layer.hides(place):
        tree = None
    prefix = place + "/" if place else ""
    own = {p[len(prefix) :]: e for p, e in layer.entries.items() if p.startswith(prefix)}
    if place and place in layer.entries:
        own[""] = layer.entries[place]
    gone = [p[len(prefix) :] for p in layer.removed if p.startswith(prefix)]
    if tree is None:
        return Tree({"": FOLDER, **own}) if own else None
    return put(Tree(without(tree.entries, gone)), "", Tree(own))
