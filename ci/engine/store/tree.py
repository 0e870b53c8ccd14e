"""A directory as a frozen table of its paths; a change returns a new table and touches no file.

Contents are in the store, under their SHA-256. Layers, mounts, uploads and exports use the same
table.
"""

import hashlib
import json
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from posixpath import basename, dirname, join, normpath
from typing import Any, NamedTuple

from ci.engine.errors import EngineError
from ci.engine.store import patterns

#: Modification time of files that the engine itself creates: the earliest of a zip archive.
EPOCH = 315532800
DIRECTORY, FILE, LINK = "d", "f", "l"
#: Links in one path at most, as on Linux.
MAX_LINKS = 40


class Entry(NamedTuple):
    """One path of a tree, without its name."""

    kind: str
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = EPOCH
    size: int = 0
    content: str = ""  # SHA-256 of a file's content, or the target of a link
    dated: bool = False  # the modification time was set on request, so it is part of the digest


FOLDER = Entry(DIRECTORY, 0o755)


@dataclass(frozen=True)
class Tree:
    """Entries by path without leading slash; the root is the empty path."""

    entries: Mapping[str, Entry] = field(default_factory=lambda: {"": FOLDER})

    @cached_property
    def digest(self) -> str:
        """SHA-256 of names, modes, owners and contents; of times only where they were set."""
        rows = [(path, *_identity(entry)) for path, entry in sorted(self.entries.items())]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    @property
    def root(self) -> Entry:
        """The entry of the directory (or the single file) itself."""
        return self.entries[""]


def _identity(entry: Entry) -> tuple[Any, ...]:
    return entry if entry.dated else entry._replace(mtime=0)


def clean(path: str) -> str:
    """Return a path relative to its root, without `.`, `..` and slashes around it."""
    return normpath("/" + path).strip("/")


def follow_links(path: str, *, follow: bool) -> Generator[str, Entry | None, str]:
    """Resolve the links in a path as a process does: yield each place, receive its entry.

    Returns:
        The resolved path; from the first missing place on, as written.
    """
    done, rest, hops = "", [part for part in clean(path).split("/") if part], 0
    while rest:
        part = rest.pop(0)
        if part == "..":
            done = dirname(done)
            continue
        place = join(done, part)
        entry = yield place
        if entry is None:
            return join(place, *rest)
        if entry.kind == LINK and (rest or follow):
            hops += 1
            if hops > MAX_LINKS:
                raise EngineError(f"{path}: too many levels of symbolic links")
            rest = [part for part in entry.content.split("/") if part not in ("", ".")] + rest
            done = "" if entry.content.startswith("/") else done
        else:
            done = place
    return done


def found(tree: Tree, path: str, *, follow: bool = True) -> tuple[str, Entry | None]:
    """Return where a path leads, links follow_links within the tree, and what is there."""
    way = follow_links(path, follow=follow)
    try:
        place = next(way)
        while True:
            place = way.send(tree.entries.get(place))
    except StopIteration as end:
        return str(end.value), tree.entries.get(end.value)


def lookup(tree: Tree, path: str) -> tuple[str, Entry]:
    """Return the place and the entry of a path; raises `EngineError` if it is missing."""
    place, entry = found(tree, path)
    if entry is None:
        raise not_found(path)
    return place, entry


def not_found(path: str) -> EngineError:
    """Return the error for a missing path."""
    return EngineError(f"{path}: no such file or directory")


def subtree(tree: Tree, path: str) -> Tree:
    """Return the directory at a path as a tree; raises `EngineError`."""
    found = inside(tree, path)
    if found.root.kind != DIRECTORY:
        raise EngineError(f"{path}: not a directory")
    return found


def inside(tree: Tree, path: str) -> Tree:
    """Return the directory or the single file at a path; raises `EngineError`."""
    return below(tree, lookup(tree, path)[0])


def below(tree: Tree, place: str) -> Tree:
    """Return the tree at a place that exists."""
    if not place:
        return tree
    inside = {p[len(place) + 1 :]: e for p, e in tree.entries.items() if p.startswith(place + "/")}
    return Tree({"": tree.entries[place], **inside})


def put(tree: Tree, path: str, source: Tree) -> Tree:
    """Return the tree with another one put at a path; directories merge, files replace.

    Missing directories above the path are made. Links in the way are follow_links as far as they
    stay in the tree.
    """
    place = join(found(tree, dirname(clean(path)))[0], basename(clean(path)))
    entries = dict(tree.entries)
    for above in reversed(list(patterns.parents(place))):
        if above not in entries:
            entries[above] = FOLDER
    for name, entry in source.entries.items():
        target = join(place, name) if name else place
        old = entries.get(target)
        if old is not None and DIRECTORY in (old.kind, entry.kind) and old.kind != entry.kind:
            entries = without(entries, [target])
        if old is not None and old.kind == entry.kind == DIRECTORY:
            continue  # a directory that exists keeps its mode and owner
        entries[target] = entry
    return Tree(entries)


def remove(tree: Tree, paths: Iterable[str]) -> Tree:
    """Return the tree without these paths (`*` and `?` as in a shell) and all below them."""
    removed = []
    for path in paths:
        exact = clean(path)
        if any(sign in exact for sign in "*?["):
            pattern = patterns.compile_pattern(exact)
            removed += [place for place in tree.entries if place and pattern.regex.match(place)]
        else:
            removed.append(exact)
    return Tree(without(tree.entries, removed))


def without(entries: Mapping[str, Entry], removed: Iterable[str]) -> dict[str, Entry]:
    """Return the entries without exactly these paths and all below them."""
    exact = set(removed)
    return {
        path: entry
        for path, entry in entries.items()
        if path not in exact and not any(above in exact for above in patterns.parents(path))
    }


def select(
    tree: Tree, include: Iterable[str], exclude: Iterable[str], ignored: Iterable[str] = ()
) -> Tree:
    """Return the paths that match include, but neither exclude nor `ignored` (places)."""
    if not (include or exclude or ignored):
        return tree
    removed = set(ignored)
    paths = [path for path in tree.entries if path and path not in removed]
    kept = patterns.select(paths, include, exclude)
    return Tree({path: e for path, e in tree.entries.items() if not path or path in kept})


def glob(tree: Tree, pattern: str) -> list[str]:
    """Return the paths that a pattern matches; directories end with a slash."""
    regex = patterns.compile_pattern(pattern).regex
    return sorted(display_name(p, e) for p, e in tree.entries.items() if p and regex.match(p))


def names(tree: Tree) -> list[str]:
    """Return the names in a directory, sorted; directories end with a slash."""
    return sorted(display_name(p, e) for p, e in tree.entries.items() if p and "/" not in p)


def display_name(path: str, entry: Entry) -> str:
    """Return a path as Dagger shows it."""
    return path + "/" * (entry.kind == DIRECTORY)


def chown(tree: Tree, uid: int, gid: int) -> Tree:
    """Return the tree with every path owned by these ids."""
    return Tree({path: entry._replace(uid=uid, gid=gid) for path, entry in tree.entries.items()})


def dated(tree: Tree, seconds: int) -> Tree:
    """Return the tree with every modification time set, in seconds since 1970."""
    return Tree({p: e._replace(mtime=seconds, dated=True) for p, e in tree.entries.items()})
