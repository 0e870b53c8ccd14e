"""Directories and files of this host, read into trees."""

import json
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from posixpath import join
from typing import IO, cast

from ci.engine.errors import EngineError
from ci.engine.store import gitignore as gitignores
from ci.engine.store import patterns
from ci.engine.store.cache import Store
from ci.engine.store.edits import CAPABILITY
from ci.engine.store.gitignore import Gitignore
from ci.engine.store.tree import (
    BLOCK_DEVICE,
    CHARACTER_DEVICE,
    DIRECTORY,
    FILE,
    FOLDER,
    LINK,
    PIPE,
    Entry,
    Tree,
)

#: A file that changed less than this before it was read, seconds, may change without a new time.
RACY = 0.1
_KINDS = {
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFREG: FILE,
    stat.S_IFLNK: LINK,
    stat.S_IFIFO: PIPE,
    stat.S_IFCHR: CHARACTER_DEVICE,
    stat.S_IFBLK: BLOCK_DEVICE,
}


def upload(
    store: Store,
    root: Path,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    *,
    gitignore: bool = False,
    remember: bool = True,
) -> Tree:
    """Read a directory; only files whose size, times or inode changed are opened.

    A file that vanishes while the directory is read is as if it had never existed. `remember`
    stores the hashes of files, for directories that are read again.

    Raises:
        EngineError: there is no such directory, or it cannot be read.
    """
    if not root.is_dir():
        raise EngineError(f"{root}: no such directory on this host")
    reader = _Reader(store, str(root))
    exclude, include = tuple(exclude), tuple(include)
    try:
        rules = _Rules(root) if gitignore else None
        found = dict(reader.walk(exclude, rules))
        kept = patterns.select(found, include, exclude)
        entries = {path: reader.entry(path, found[path]) for path in found if path in kept}
        if remember:
            reader.finish()
    except OSError as error:
        raise EngineError(f"{error.filename}: {error.strerror}") from error
    return Tree({"": FOLDER} | {path: entry for path, entry in entries.items() if entry})


def upload_file(store: Store, path: Path) -> Entry:
    """Read one file."""
    if not path.is_file():
        raise EngineError(f"{path}: no such file on this host")
    reader = _Reader(store, str(path.parent))
    entry = reader.entry(path.name, path.stat())
    reader.finish()
    if entry is None:
        raise EngineError(f"{path}: not a regular file")
    return entry


class _Rules:
    """The .gitignore rules of a directory: its own, and those above it in its git repository."""

    def __init__(self, root: Path) -> None:
        """Read the rules above the directory.

        Raises:
            EngineError: they exclude the directory itself.
        """
        root = root.absolute()
        found = (folder for folder in (root, *root.parents) if (folder / ".git").exists())
        repository = next(found, None)
        self._gitignore = Gitignore(repository=repository is not None)
        self._root = repository or root
        self._inner = "" if root == self._root else str(root.relative_to(self._root))
        entered = [self._inner, *patterns.parents(self._inner)] if self._inner else []
        for folder, inner in pairwise(["", *reversed(entered)]):
            self._add(folder)
            if self._gitignore.ignores(inner, directory=True):
                raise EngineError(f"{root}: no such file or directory: a .gitignore excludes it")

    def read(self, folder: str) -> None:
        """Read the file in a folder below the directory, before the folder's other names."""
        self._add(join(self._inner, folder).rstrip("/"))

    def ignores(self, path: str, *, directory: bool) -> bool:
        """Return whether a path below the directory is ignored; see `Gitignore.ignores`."""
        return self._gitignore.ignores(join(self._inner, path), directory=directory)

    def _add(self, folder: str) -> None:
        path = self._root / folder / gitignores.NAME
        if path.is_file() and not path.is_symlink():  # git follows no link here
            self._gitignore.add(folder, path.read_bytes())


class _Reader:
    def __init__(self, store: Store, root: str) -> None:
        self._store = store
        self._root = root
        self._known = store.known_files(_key(root + "/"))
        self._new: list[tuple[str, str, str]] = []

    def walk(
        self, exclude: tuple[str, ...], rules: "_Rules | None"
    ) -> Iterator[tuple[str, os.stat_result]]:
        """Yield the paths below the root, a directory before its contents."""
        pruner = patterns.Matcher(patterns.compile_pattern(text) for text in exclude)
        has_negations = any(text.startswith("!") for text in exclude)
        stack = [""]
        while stack:
            at = stack.pop()
            items = self._items(at)
            if rules is not None and any(item.name == gitignores.NAME for item in items):
                rules.read(at)
            for item in items:
                path = f"{at}/{item.name}" if at else item.name
                is_directory = item.is_dir(follow_symlinks=False)
                if rules is not None and rules.ignores(path, directory=is_directory):
                    continue
                if is_directory and not has_negations and pruner.matches(path):
                    continue
                try:
                    found = item.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                yield path, found
                if is_directory:
                    stack.append(path)

    def _items(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(f"{self._root}/{folder}") as scanned:
                return sorted(scanned, key=lambda item: item.name)
        except FileNotFoundError:
            if not folder:
                raise
            return []

    def entry(self, path: str, found: os.stat_result) -> Entry | None:
        """Return the entry at a path; None for a socket, or a path that has vanished."""
        kind = _KINDS.get(stat.S_IFMT(found.st_mode))
        if kind is None:
            return None
        place, mode = f"{self._root}/{path}", stat.S_IMODE(found.st_mode)
        entry = Entry(kind, mode, mtime=int(found.st_mtime))
        try:
            match kind:
                case "l":
                    target = os.readlink(place)  # noqa: PTH115 (a path would drop `./`)
                    size = len(os.fsencode(target))
                    return entry._replace(mode=0o777, size=size, content=target)
                case "f":
                    content, size = self._content(place, found)
                    names = f"{found.st_dev} {found.st_ino}" if found.st_nlink > 1 else ""
                    entry = entry._replace(size=size, content=content, inode=names)
                case "c" | "b":
                    device = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
                    entry = entry._replace(content=device)
            return entry._replace(xattrs=_xattrs(place))
        except FileNotFoundError:
            return None

    def _content(self, path: str, found: os.stat_result) -> tuple[str, int]:
        stamp, key = _stamp(found), _key(path)
        known = self._known.get(key)
        if known and known[0] == stamp and self._store.touch(known[1], found.st_size):
            return known[1], found.st_size
        with Path(path).open("rb") as file:
            content, size = self._store.add(cast("IO[bytes]", _First(file, found.st_size)))
            same = _stamp(os.fstat(file.fileno())) == stamp
        if same and time.time() - found.st_ctime > RACY:
            self._new.append((key, stamp, content))
        return content, size

    def finish(self) -> None:
        """Store the hashes of the files that were read."""
        if self._new:
            self._store.remember_files(self._new)


def _key(path: str) -> str:
    """Return a path as the store can keep it; a name of this host is not always UTF-8."""
    return os.fsencode(path).decode("latin-1")


class _First:
    """The first bytes of a file: it may grow while it is read."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.name = file.name
        self._file = file
        self._left = size

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data


def _stamp(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns} {found.st_ctime_ns} {found.st_size} {found.st_ino}"


def _xattrs(path: str) -> str:
    """Return the extended attributes that a copy keeps: the user's, and a program's rights."""
    with suppress(OSError):  # not every file system has them
        names = os.listxattr(path, follow_symlinks=False)
        kept = [name for name in names if name.startswith("user.") or name == CAPABILITY]
        values = {name: os.getxattr(path, name, follow_symlinks=False).hex() for name in kept}
        return json.dumps(values, sort_keys=True) if values else ""
    return ""
