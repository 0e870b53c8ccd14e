"""A directory as a frozen table of its paths; a change returns a new table and touches no file.

Contents are in the store, under their SHA-256. Layers, mounts, uploads and exports use the same
table. Two things hold for every tree: it has a root, and only directories have paths below them.
"""

import hashlib
import json
import os
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from posixpath import dirname, join, normpath
from typing import Any, NamedTuple

from ci.engine.errors import EngineError, NotDirectoryError
from ci.engine.store import patterns

DIRECTORY, FILE, LINK, PIPE, CHARACTER_DEVICE, BLOCK_DEVICE = "dflpcb"
#: Links in one path at most, as on Linux.
MAX_LINKS = 40
#: Bytes of one name and of a whole path at most, as on Linux.
MAX_NAME, MAX_PATH = 255, 4095


class Entry(NamedTuple):
    """One path of a tree, without its name."""

    kind: str
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int | None = None  # seconds since 1970; None: the time at which it is written
    size: int = 0
    content: str = ""  # SHA-256 of a file's content, target of a link, `major:minor` of a device
    dated: bool = False  # the modification time was set on request, so a key contains it
    inode: str = ""  # paths of a tree with the same one are names of the same file (hard links)
    xattrs: str = ""  # extended attributes: JSON of their values in hexadecimal by name


FOLDER = Entry(DIRECTORY, 0o755)


@dataclass(frozen=True)
class Tree:
    """Entries by path without leading slash; the root is the empty path."""

    entries: Mapping[str, Entry] = field(default_factory=lambda: {"": FOLDER})

    @cached_property
    def digest(self) -> str:
        """SHA-256 of names, modes, owners and contents, not of times; as Dagger's."""
        rows = ([p, *e[:4], *e[5:7], e.xattrs] for p, e in sorted(self.entries.items()))
        return _hash(rows)

    @cached_property
    def key(self) -> str:
        """SHA-256 of all that a process sees; of times only where they were set on request."""
        first = first_names(self.entries)
        return _hash(
            [path, *_timeless(entry)._replace(inode=first.get(path, ""))]
            for path, entry in sorted(self.entries.items())
        )

    @property
    def root(self) -> Entry:
        """The entry of the directory (or the single file) itself."""
        return self.entries[""]


def _hash(rows: Iterable[list[Any]]) -> str:
    return hashlib.sha256(json.dumps(list(rows)).encode()).hexdigest()


def _timeless(entry: Entry) -> Entry:
    return entry if entry.dated else entry._replace(mtime=None)


def first_names(entries: Mapping[str, Entry]) -> dict[str, str]:
    """Return, for every path that is one of several names of a file, the first of its names."""
    names: dict[Entry, list[str]] = {}  # an entry is equal for all names of a file
    for path in sorted(path for path, entry in entries.items() if entry.inode):
        names.setdefault(entries[path], []).append(path)
    return {path: each[0] for each in names.values() if len(each) > 1 for path in each}


# --- paths ----------------------------------------------------------------------------------
def clean(path: str) -> str:
    """Return a path relative to its root, without `.`, `..` and slashes around it.

    Raises:
        EngineError: no file system has such a path.
    """
    if "\0" in path:
        raise EngineError(f"{path!r}: invalid argument: a path cannot contain a null byte")
    cleaned = normpath("/" + path).strip("/")
    if len(cleaned) * 4 > MAX_NAME:  # a character has four bytes at most
        _require_length(cleaned)
    return cleaned


def _require_length(path: str) -> None:
    longest = max(len(os.fsencode(part)) for part in path.split("/"))
    if longest > MAX_NAME:
        raise EngineError(
            f"{path}: File name length exceeds the maximum supported {MAX_NAME} characters"
        )
    if len(os.fsencode(path)) > MAX_PATH:
        raise EngineError(f"{path}: file name too long: a path has at most {MAX_PATH} bytes")


def follow_links(path: str, *, follow: bool) -> Generator[str, Entry | None, str]:
    """Resolve the links in a path as a process does: yield each place, receive its entry.

    Returns:
        The resolved path, which may not exist.

    Raises:
        EngineError: there are too many links, or something below a file.
    """
    done, rest, hops, missing = "", clean(path).split("/"), 0, ""
    while rest:
        part = rest.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            done = dirname(done)
            continue
        place = join(done, part)
        entry = None if missing and place.startswith(missing) else (yield place)
        if entry is None:
            missing = missing or f"{place}/"
            done = place
        elif entry.kind == LINK and (any(rest) or follow):
            hops += 1
            if hops > MAX_LINKS:
                raise EngineError(f"{path}: too many levels of symbolic links (too many links)")
            rest = entry.content.split("/") + rest
            done = "" if entry.content.startswith("/") else done
        elif entry.kind != DIRECTORY and any(rest):
            raise NotDirectoryError(f"{path}: not a directory")
        else:
            done = place
    return done


def found(tree: Tree, path: str, *, follow: bool = True) -> tuple[str, Entry | None]:
    """Return where a path leads, links followed within the tree, and what is there."""
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


# --- parts ----------------------------------------------------------------------------------
def inside(tree: Tree, path: str) -> Tree:
    """Return the directory or the single file at a path; raises `EngineError`."""
    return below(tree, lookup(tree, path)[0])


def below(tree: Tree, place: str) -> Tree:
    """Return the tree at a place that exists."""
    if not place:
        return tree
    inside = {p[len(place) + 1 :]: e for p, e in tree.entries.items() if p.startswith(place + "/")}
    return Tree({"": tree.entries[place], **inside})


def with_file(tree: Tree, path: str, entry: Entry) -> Tree:
    """Return the tree with a file in place of one at a path, or in a new or existing directory."""
    place, _ = found(tree, path)
    above = {each: FOLDER for each in patterns.parents(place) if each not in tree.entries}
    return Tree({**tree.entries, **above, place: entry})


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
    """Return a path as Dagger shows it; bytes that are not UTF-8 become U+FFFD."""
    shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return shown + "/" * (entry.kind == DIRECTORY)


def difference(before: Tree, after: Tree) -> Tree:
    """Return what is new or changed in another tree, with the directories above it.

    A directory from which something was removed is changed, other than the root.
    """
    lost = (dirname(path) for path in before.entries if path not in after.entries)
    changed = {path for path in lost if path and path in after.entries}
    for path, entry in after.entries.items():
        old = before.entries.get(path)
        if path and (old is None or _differs(old, entry)):
            changed.add(path)
    kept = changed.union({""}, *(patterns.parents(path) for path in changed))
    return Tree({path: entry for path, entry in after.entries.items() if path in kept})


def _differs(old: Entry, new: Entry) -> bool:
    """Return whether two entries differ; in time only where both have one, and directories not."""
    if new.kind != DIRECTORY and None not in (old.mtime, new.mtime) and old.mtime != new.mtime:
        return True
    old, new = (e._replace(mtime=None, dated=False, inode="") for e in (old, new))
    return old != new


# --- owners and modes -------------------------------------------------------------------------
def chown(tree: Tree, uid: int, gid: int) -> Tree:
    """Return the tree with every path owned by these ids."""
    return Tree({path: entry._replace(uid=uid, gid=gid) for path, entry in tree.entries.items()})


def chmod(tree: Tree, mode: int) -> Tree:
    """Return the tree with this mode for every path but links."""
    return Tree(
        {
            path: entry if entry.kind == LINK else entry._replace(mode=mode)
            for path, entry in tree.entries.items()
        }
    )
