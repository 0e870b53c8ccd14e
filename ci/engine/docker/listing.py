"""What a command changed in a running container, seen by the container's own process.

A first listing has the inode number and the time of the last change (ctime) of every file; no
process can choose either. After a command, only directories and the files that were changed since
the first listing are looked at: a directory has a new time if a name in it was added, removed or
renamed, and on overlayfs also if a file of the image in it was changed, which is copied into the
container's own layer for that. The directories with a new time are listed again. What is mounted
is left out.
"""

import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from posixpath import basename, dirname, join
from typing import NamedTuple

from ci.engine.store.patterns import parents

#: Executes a shell command of one line in the container; returns its output, None if it failed.
Ask = Callable[[str], bytes | None]
#: Files of a container above which it is not listed.
MAX_LISTED = 60_000
#: Seconds by which the clock of the container may be set back unnoticed, and what makes up for it.
TOLERANCE, MARGIN = 2, 5
_FORMAT = r"-printf '%y %i %C@ %m %U %G %T@ %s %n %p\0%l\0'"
#: A file whose times are always those of the look at it.
_NOW = "/proc/self/stat"
_KINDS, DIRECTORY, SOCKET = "fdlpcbs", "d", "s"


class Found(NamedTuple):
    """One file of a listing."""

    kind: str
    inode: str
    changed: str  # ctime, seconds since 1970 with their fraction
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    links: int
    path: str  # without leading slash
    target: str  # of a link

    @property
    def identity(self) -> "Identity":
        """What differs where a file was changed or replaced."""
        return self.kind, self.inode, self.changed


Identity = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Changes:
    """New and changed files by path; paths that were removed, or replaced by or as a directory."""

    files: dict[str, Found] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    root: bool = False  # whether the mode or the owner of the root was changed


class UnclearError(Exception):
    """A listing is not possible, or does not show what was changed."""


class Listing:
    """The files of one running container as they were when it was last listed."""

    def __init__(self, ask: Ask) -> None:
        """List all files; blocks; raises `UnclearError`."""
        self._ask = ask
        self._known: dict[str, dict[str, Identity]] = {}  # by directory and name
        self._now, self._asked = 0.0, time.monotonic()
        mounts, _, files = self._output(
            f"cat /proc/self/mountinfo && echo && find / {_NOW} -xdev {_FORMAT}"
        ).partition(b"\n\n")
        self._mounts = frozenset(_mounts(mounts.decode("utf-8", "surrogateescape")))
        self._below_mounts = tuple(f"{place}/" for place in self._mounts)
        # What is looked at every time: the shell has these paths as its arguments.
        self._watched: set[str] = set()
        self._unwatched: list[str] = []  # the shell has not got them yet
        root: Found | None = None
        for number, each in enumerate(self._parsed(files), 1):  # not kept: there are many
            root = root if each.path else each
            self._know(each)
            if each.kind == DIRECTORY:
                self._watch(each.path)
            if number > MAX_LISTED:
                raise UnclearError("there are too many files")
        if root is None:
            raise UnclearError("there are no files")
        self._root = root

    def changes(self) -> Changes:
        """Return what was changed since the last listing; blocks; raises `UnclearError`."""
        late = _real({each.path: each for each in self._late()})
        same = {path for path, each in late.items() if self._is_same_directory(each)}
        inner = self._listed(sorted(same), "-mindepth 1 -maxdepth 1")
        changed = {each.path: each for each in inner if each.identity != self._of(each.path)}
        late = _real(late | changed)
        late |= {each.path: each for each in self._listed(self._fresh(late), "-mindepth 1")}
        removed = self._missing(same & late.keys(), inner)
        removed |= {path for path, each in late.items() if self._replaces(each)}
        for path in removed:
            self._forget(path)
        for each in late.values():
            self._know(each)
            self._watch(each.path)
        before, self._root = self._root, late.pop("", self._root)
        files = {path: each for path, each in late.items() if each.kind != SOCKET}
        # A container engine gives directories that are not in a layer another owner.
        above = {place for path in files for place in parents(path)} - files.keys()
        files |= {each.path: each for each in self._listed(sorted(above), "-maxdepth 0")}
        root = _attributes(before) != _attributes(self._root)
        return Changes(files=files, removed=frozenset(removed), root=root)

    def expect(self, kinds: Mapping[str, str]) -> None:
        """Take files that were put there into account without a look at them.

        The next look shows them as changed, or as removed if they are gone.
        """
        for path, kind in kinds.items():
            self._known.setdefault(dirname(path), {}).setdefault(basename(path), (kind, "", ""))

    # --- comparisons --------------------------------------------------------------------------
    def _of(self, path: str) -> Identity | None:
        return self._known.get(dirname(path), {}).get(basename(path))

    def _is_same(self, each: Found) -> bool:
        """Return whether a file is the one that was there before, with or without changes."""
        known = self._of(each.path)
        return known is not None and known[:2] == each.identity[:2]

    def _is_same_directory(self, each: Found) -> bool:
        return each.kind == DIRECTORY and self._is_same(each)

    def _fresh(self, late: Mapping[str, Found]) -> list[str]:
        """Return the directories that are new, without those below another one."""
        fresh = {
            path
            for path, each in late.items()
            if each.kind == DIRECTORY and not self._is_same(each)
        }
        return sorted(path for path in fresh if fresh.isdisjoint(parents(path)))

    def _replaces(self, each: Found) -> bool:
        """Return whether a file hides what an entry of a layer at its path would not hide."""
        known = self._of(each.path)
        if known is None or self._is_same(each):
            return False
        return DIRECTORY in (known[0], each.kind) or each.kind == SOCKET

    def _missing(self, directories: Iterable[str], listed: Sequence[Found]) -> set[str]:
        names: dict[str, set[str]] = {}
        for each in listed:
            names.setdefault(dirname(each.path), set()).add(basename(each.path))
        return {
            join(path, name)
            for path in directories
            for name in self._known.get(path, {}).keys() - names.get(path, set())
            if name  # the root is in its own directory
        }

    def _know(self, each: Found) -> None:
        self._known.setdefault(dirname(each.path), {})[basename(each.path)] = each.identity

    def _forget(self, path: str) -> None:
        self._known.get(dirname(path), {}).pop(basename(path), None)
        below = [path]
        while below:
            place = below.pop()
            inner = self._known.pop(place, {})
            below += [join(place, name) for name, known in inner.items() if known[0] == DIRECTORY]

    # --- listings -----------------------------------------------------------------------------
    def _late(self) -> list[Found]:
        """Return what is watched and was changed since the last listing."""
        since, asked, looked = int(self._now) - MARGIN, time.monotonic(), self._now
        new, self._unwatched = _quoted(self._unwatched), []
        # An error is a name that is gone; only the last name shows that all were looked at.
        late = f'set -- "$@" {new}; find "$@" {_NOW} -maxdepth 0 -newerct @{since} {_FORMAT}; true'
        self._now = 0.0
        # What was gone the last time is not looked at: a link may lead to another file there.
        found = [
            each
            for each in self._parsed(self._output(late))
            if self._of(each.path) not in (None, each.identity)
        ]
        if self._now - looked < asked - self._asked - TOLERANCE:
            raise UnclearError("the clock was set back, or the listing is not complete")
        self._asked = time.monotonic()
        return found

    def _watch(self, path: str) -> None:
        if path not in self._watched:
            self._watched.add(path)
            self._unwatched.append(path)

    def _listed(self, directories: Sequence[str], depth: str) -> list[Found]:
        """Return directories that exist, or what is in them."""
        if not directories:
            return []
        command = f"find {_quoted(directories)} {depth} -xdev {_FORMAT}"
        return list(self._parsed(self._output(command)))

    def _output(self, command: str) -> bytes:
        output = self._ask(command)
        if output is None:
            raise UnclearError("the image has no `find` that can list files")
        return output

    def _parsed(self, output: bytes) -> Iterator[Found]:
        """Yield the files of a listing without mounts."""
        parts = _parts(output)
        for head, target in zip(parts, parts, strict=False):
            kind, inode, changed, mode, uid, gid, mtime, size, links, path = head.split(" ", 9)
            if path == _NOW:
                self._now = float(changed)
            path = path.strip("/")
            if path in self._mounts or path.startswith(self._below_mounts):
                continue
            if kind not in _KINDS:
                raise UnclearError(f"{path} is of an unknown kind")
            numbers = int(mode, 8), int(uid), int(gid), int(mtime.partition(".")[0])
            yield Found(kind, inode, changed, *numbers, int(size), int(links), path, target)


def _parts(output: bytes) -> Iterator[str]:
    """Yield the parts of an output that end with a NUL, one at a time: there are many."""
    start = 0
    while (end := output.find(b"\0", start)) >= 0:
        yield output[start:end].decode("utf-8", "surrogateescape")
        start = end + 1


def _attributes(each: Found) -> tuple[int, int, int]:
    return each.mode, each.uid, each.gid


def _real(late: Mapping[str, Found]) -> dict[str, Found]:
    """Return what is not below a name that is no directory any more: a link may lead to others."""
    replaced = {path for path, each in late.items() if each.kind != DIRECTORY}
    return {path: each for path, each in late.items() if replaced.isdisjoint(parents(path))}


def _quoted(paths: Iterable[str]) -> str:
    quoted = " ".join(shlex.quote(f"/{path}") for path in paths)
    if "\n" in quoted:
        raise UnclearError("the name of a directory has more than one line")
    return quoted


def _mounts(table: str) -> Iterator[str]:
    """Yield the paths of the mounts in a container's mountinfo, but of its own files."""
    for line in table.splitlines():
        fields = line.split(" ")
        place = _unescaped(fields[4]).strip("/")
        if place:
            yield place
        elif fields[fields.index("-") + 1] != "overlay":
            raise UnclearError("the files of the container are not on overlayfs")


def _unescaped(text: str) -> str:
    """Return a path of mountinfo, where some characters are octal numbers after a backslash."""
    first, *others = text.split("\\")
    return first + "".join(chr(int(each[:3], 8)) + each[3:] for each in others)
