"""Directories and files of this host: read into trees, written from trees."""

import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from posixpath import join

from ci.engine.errors import EngineError
from ci.engine.store import gitignore as gitignores
from ci.engine.store import patterns
from ci.engine.store.cache import Store
from ci.engine.store.gitignore import Gitignore
from ci.engine.store.tree import DIRECTORY, FILE, FOLDER, LINK, Entry, Tree

#: A file that changed less than this before it was read, seconds, may change without a new time.
RACY = 0.1


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

    `remember` stores their hashes, for directories that are read again.

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
    except OSError as error:
        raise EngineError(f"{error.filename}: {error.strerror}") from error
    kept = patterns.select(found, include, exclude)
    entries = {path: reader.entry(path, found[path]) for path in found if path in kept}
    if remember:
        reader.finish()
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
            with os.scandir(f"{self._root}/{at}") as scanned:
                items = sorted(scanned, key=lambda item: item.name)
            if rules is not None and any(item.name == gitignores.NAME for item in items):
                rules.read(at)
            for item in items:
                path = f"{at}/{item.name}" if at else item.name
                is_directory = item.is_dir(follow_symlinks=False)
                if rules is not None and rules.ignores(path, directory=is_directory):
                    continue
                if is_directory and not has_negations and pruner.matches(path):
                    continue
                yield path, item.stat(follow_symlinks=False)
                if is_directory:
                    stack.append(path)

    def entry(self, path: str, found: os.stat_result) -> Entry | None:
        """Return the entry at a path; None for kinds that a tree has not."""
        mode, mtime = stat.S_IMODE(found.st_mode), int(found.st_mtime)
        match stat.S_IFMT(found.st_mode):
            case stat.S_IFDIR:
                return Entry(DIRECTORY, mode, mtime=mtime)
            case stat.S_IFLNK:
                link = str(Path(self._root, path).readlink())
                return Entry(LINK, 0o777, mtime=mtime, content=link)
            case stat.S_IFREG:
                content = self._content(f"{self._root}/{path}", found)
                return Entry(FILE, mode, mtime=mtime, size=found.st_size, content=content)
        return None

    def _content(self, path: str, found: os.stat_result) -> str:
        stamp = f"{found.st_mtime_ns} {found.st_ctime_ns} {found.st_size} {found.st_ino}"
        known = self._known.get(_key(path))
        if known and known[0] == stamp and self._store.touch(known[1], found.st_size):
            return known[1]
        with Path(path).open("rb") as file:
            content, _ = self._store.add(file)
        if time.time() - found.st_ctime > RACY:
            self._new.append((_key(path), stamp, content))
        return content

    def finish(self) -> None:
        """Store the hashes of the files that were read."""
        if self._new:
            self._store.remember_files(self._new)


def _key(path: str) -> str:
    """Return a path as the store can keep it; a name of this host is not always UTF-8."""
    return os.fsencode(path).decode("latin-1")


def export(store: Store, tree: Tree, target: Path, *, wipe: bool = False) -> None:
    """Write a tree into a directory of this host; other files there stay unless `wipe` is set.

    Raises:
        EngineError: a path or a link leads out of the target, or a directory is where a file goes.
    """
    if wipe and target.exists():
        for item in target.iterdir():
            shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()
    target.mkdir(parents=True, exist_ok=True)
    for path in tree.entries:
        if path.startswith("/") or ".." in path.split("/"):
            raise EngineError(f"export to {target}: {path} leads out of it")
    for path, entry in sorted(tree.entries.items()):
        if path:
            write(store, entry, target / path, target)


def write(store: Store, entry: Entry, path: Path, root: Path) -> None:
    """Write one entry at a path below a root that exists."""
    if any(above.is_symlink() for above in path.parents if root in above.parents):
        raise EngineError(f"export to {path}: remove the symbolic link in the path")
    if entry.kind == DIRECTORY:
        if path.is_symlink() or path.is_file():
            path.unlink()
        path.mkdir(exist_ok=True)
        path.chmod(entry.mode)
        return
    if path.is_dir() and not path.is_symlink():
        raise EngineError(f"export to {path}: a directory is in the way; remove it")
    path.unlink(missing_ok=True)
    if entry.kind == LINK:
        path.symlink_to(entry.content)
        return
    shutil.copyfile(store.path(entry.content), path)
    path.chmod(entry.mode)
    os.utime(path, (entry.mtime, entry.mtime))
