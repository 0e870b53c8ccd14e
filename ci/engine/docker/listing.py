"""What a command changed in a running container, seen by the container's own process.

A first listing has the inode number and the time of the last change (ctime) of every file; no
process can choose either. Later ones have what changed since: a directory in which a name was
added, removed or renamed is among it, and is listed again. What is mounted is left out.
"""

import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from posixpath import basename, dirname, join
from typing import NamedTuple

#: Executes a shell command of one line in the container; returns its output, None if it failed.
Ask = Callable[[str], bytes | None]
#: Files of a container above which it is not listed.
MAX_LISTED = 60_000
#: Seconds by which the clock of the container may be set back unnoticed, and what makes up for it.
TOLERANCE, MARGIN = 2, 5
_FORMAT = r"-printf '%y %i %C@ %m %U %G %T@ %s %n %p\0%l\0'"
_NOW = "date +%s.%N"
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


class UnclearError(Exception):
    """A listing is not possible, or does not show what was changed."""


class Listing:
    """The files of one running container as they were when it was last listed."""

    def __init__(self, ask: Ask) -> None:
        """List all files; blocks; raises `UnclearError`."""
        self._ask = ask
        self._known: dict[str, dict[str, Identity]] = {}  # by directory and name
        head, _, files = self._output(
            f"{_NOW} && cat /proc/self/mountinfo && echo && find / -xdev {_FORMAT}"
        ).partition(b"\n\n")
        now, *mounts = head.decode("utf-8", "surrogateescape").splitlines()
        self._now, self._asked = float(now), time.monotonic()
        places = {_unescaped(line.split(" ")[4]).strip("/") for line in mounts}
        self._mounts = frozenset(places - {""})
        self._below_mounts = tuple(f"{place}/" for place in self._mounts)
        found = {each.path: each for each in self._parsed(files)}
        if len(found) > MAX_LISTED or "" not in found:
            raise UnclearError("there are too many files, or none")
        self._root = found[""]
        for each in found.values():
            self._know(each)

    def changes(self) -> Changes:
        """Return what was changed since the last listing; blocks; raises `UnclearError`."""
        late = {each.path: each for each in self._late() if each.identity != self._of(each.path)}
        directories = [each for each in late.values() if each.kind == DIRECTORY]
        same = {each.path for each in directories if self._is_same(each)}
        fresh = {each.path for each in directories} - same
        tops = [path for path in fresh if not any(above in fresh for above in _above(path))]
        listed = self._inner(sorted(same), sorted(tops))
        removed = self._missing(same, listed)
        for each in listed:
            is_fresh = any(above in fresh for above in _above(each.path))
            if is_fresh or each.identity != self._of(each.path):
                if each.kind == DIRECTORY and each.path not in late and not is_fresh:
                    raise UnclearError(f"{each.path} is new and has an old time")
                late[each.path] = each
        removed |= {path for path, each in late.items() if self._replaces(each)}
        for path in removed:
            self._forget(path)
        for each in late.values():
            self._know(each)
        self._require_root(late.pop("", self._root))
        files = {path: each for path, each in late.items() if each.kind != SOCKET}
        return Changes(files=files, removed=frozenset(removed))

    # --- comparisons --------------------------------------------------------------------------
    def _of(self, path: str) -> Identity | None:
        return self._known.get(dirname(path), {}).get(basename(path))

    def _is_same(self, each: Found) -> bool:
        """Return whether a directory is the one that was there before."""
        known = self._of(each.path)
        return known is not None and known[:2] == each.identity[:2]

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

    def _require_root(self, root: Found) -> None:
        if (root.mode, root.uid, root.gid) != (self._root.mode, self._root.uid, self._root.gid):
            raise UnclearError("a layer does not have the mode and the owner of the root")

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
    def _late(self) -> Iterator[Found]:
        """Return the files that were changed since the last listing, and some before it."""
        since, asking = int(self._now) - MARGIN, time.monotonic()
        late = f"{_NOW} && find / -xdev -newerct @{since} {_FORMAT}"
        now, _, files = self._output(late).partition(b"\n")
        passed = float(now) - self._now
        if passed < asking - self._asked - TOLERANCE:
            raise UnclearError("the clock was set back")
        self._now, self._asked = float(now), time.monotonic()
        return self._parsed(files)

    def _inner(self, directories: Sequence[str], trees: Sequence[str]) -> list[Found]:
        """Return the names in some directories, and all that is below others."""
        commands = [
            f"find {_quoted(paths)} -mindepth 1 {depth} -xdev {_FORMAT}"
            for paths, depth in ((directories, "-maxdepth 1"), (trees, ""))
            if paths
        ]
        return list(self._parsed(self._output(" && ".join(commands)))) if commands else []

    def _output(self, command: str) -> bytes:
        output = self._ask(command)
        if output is None:
            raise UnclearError("the image has no `find` that can list files")
        return output

    def _parsed(self, output: bytes) -> Iterator[Found]:
        """Yield the files of a listing without mounts."""
        parts = output.decode("utf-8", "surrogateescape").split("\0")
        for head, target in zip(parts[::2], parts[1::2], strict=False):
            kind, inode, changed, mode, uid, gid, mtime, size, links, path = head.split(" ", 9)
            path = path.strip("/")
            if path in self._mounts or path.startswith(self._below_mounts):
                continue
            if kind not in _KINDS:
                raise UnclearError(f"{path} is of an unknown kind")
            numbers = int(mode, 8), int(uid), int(gid), int(mtime.partition(".")[0])
            yield Found(kind, inode, changed, *numbers, int(size), int(links), path, target)


def _above(path: str) -> Iterator[str]:
    while path := dirname(path):
        yield path


def _quoted(paths: Iterable[str]) -> str:
    quoted = " ".join(shlex.quote(f"/{path}") for path in paths)
    if "\n" in quoted:
        raise UnclearError("the name of a directory has more than one line")
    return quoted


def _unescaped(text: str) -> str:
    """Return a path of mountinfo, where some characters are octal numbers after a backslash."""
    first, *others = text.split("\\")
    return first + "".join(chr(int(each[:3], 8)) + each[3:] for each in others)
