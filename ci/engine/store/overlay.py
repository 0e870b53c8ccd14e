"""Layers: what a change adds, replaces and removes; laid over a tree or over another layer."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from posixpath import dirname

from ci.engine.store.tree import DIRECTORY, FOLDER, Entry, Tree


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What a change makes of the files below it, by canonical paths without leading slash.

    First the removed paths vanish from the files below with all that is below them, then the
    entries are laid. An entry that is not a directory replaces what was at its path; a directory
    takes the new mode and owner, and its content stays.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()

    def hides(self, path: str) -> bool:
        """Return whether nothing of the files below is visible at a path."""
        return hides(self.entries, self.removed, path)

    @property
    def size(self) -> int:
        """The number of paths; 0 if the layer changes nothing."""
        return len(self.entries) + len(self.removed)


def hides(entries: Mapping[str, Entry], removed: Container[str], path: str) -> bool:
    """Return whether entries and removed paths hide what is below them at a path."""
    while path:
        if path in removed:
            return True
        path = dirname(path)
        if path in entries and entries[path].kind != DIRECTORY:
            return True
    return False


def merge(below: Layer, above: Layer) -> Layer:
    """Return the one layer that has the effect of both."""
    if _hides_any(below.entries, above):
        kept = {p: e for p, e in below.entries.items() if not above.hides(p)}
    else:
        kept = dict(below.entries)
    removed = {path for path in below.removed if not above.hides(path)} | above.removed
    # A directory in place of something else is empty, whatever the files below have there.
    removed |= {path for path in above.entries if _becomes_directory(path, below, above)}
    return Layer(entries={**kept, **above.entries}, removed=frozenset(removed))


def _becomes_directory(path: str, below: Layer, above: Layer) -> bool:
    old = below.entries.get(path)
    return old is not None and old.kind != DIRECTORY == above.entries[path].kind


def apply(layer: Layer, tree: Tree) -> Tree:
    """Return the tree with the layer over it."""
    if not layer.size:
        return tree
    entries = tree.entries
    if _hides_any(entries, layer):
        entries = {p: e for p, e in entries.items() if not layer.hides(p)}
    return Tree({**entries, **layer.entries})


def _hides_any(entries: Mapping[str, Entry], layer: Layer) -> bool:
    """Return whether a layer may hide an entry that it does not replace itself."""
    return bool(layer.removed) or any(
        entry.kind != DIRECTORY and path in entries and entries[path].kind == DIRECTORY
        for path, entry in layer.entries.items()
    )


def part(layer: Layer, place: str, tree: Tree | None) -> Tree | None:
    """Return the tree at a place after a layer, from the tree that was there without it."""
    if layer.hides(place):
        tree = None
    prefix = place + "/" if place else ""
    own = {p[len(prefix) :]: e for p, e in layer.entries.items() if p.startswith(prefix)}
    if place in layer.entries:
        own[""] = layer.entries[place]
    if tree is None:
        return Tree({"": FOLDER, **own}) if own else None
    removed = frozenset(p[len(prefix) :] for p in layer.removed if p.startswith(prefix))
    return apply(Layer(entries=own, removed=removed), tree)
