"""Trees written into directories and files of this host."""

import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ci.engine.errors import EngineError
from ci.engine.store.cache import Store
from ci.engine.store.tree import DIRECTORY, LINK, PIPE, Entry, Tree

#: The rights that a directory needs while something is written into it.
_WRITABLE = stat.S_IRWXU


def export(store: Store, tree: Tree, target: Path, *, wipe: bool = False) -> list[str]:
    """Write a tree into a directory of this host; other files there stay unless `wipe` is set.

    Returns:
        What could not be written without more rights: attributes and devices, by name.

    Raises:
        EngineError: a path leads out of the target, or a directory is where a file goes.
    """
    for path in tree.entries:
        if path.startswith("/") or ".." in path.split("/"):
            raise EngineError(f"export to {target}: {path} leads out of it")
    with _errors(target):
        target.mkdir(parents=True, exist_ok=True)
        writer = _Writer(store)
        writer.open_directory(target, stat.S_IMODE(target.stat().st_mode))
        try:
            if wipe:
                _clear(target)
            for path, entry in sorted(tree.entries.items()):
                if path:
                    writer.write(entry, target / path)
        finally:
            writer.close_directories()
    return writer.lost


def export_file(store: Store, entry: Entry, path: Path) -> list[str]:
    """Write one file of this host, whose directory exists; see `export`."""
    with _errors(path):
        writer = _Writer(store)
        writer.write(entry, path)
    return writer.lost


@contextmanager
def _errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineError(
            f"export to {error.filename or target}: {error.strerror or error}"
        ) from error


class _Writer:
    """Writes entries, directories before what is in them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._directories: dict[Path, tuple[int, int | None]] = {}  # mode and time at the end
        self._files: dict[Entry, Path] = {}  # with several names
        self.lost: list[str] = []

    def write(self, entry: Entry, path: Path) -> None:
        """Write one entry."""
        if entry.kind == DIRECTORY:
            self._make_directory(entry, path)
            return
        if path.is_dir() and not path.is_symlink():
            raise EngineError(f"export to {path}: a directory is in the way; remove it")
        path.unlink(missing_ok=True)
        if entry.kind == LINK:
            path.symlink_to(entry.content)
        elif entry.kind == PIPE:
            os.mkfifo(path, entry.mode)
        elif ":" in entry.content:
            self._make_device(entry, path)
            return
        elif entry.inode and entry in self._files:
            path.hardlink_to(self._files[entry])
        else:
            self._write_file(entry, path)
        if entry.mtime is not None:
            os.utime(path, (entry.mtime, entry.mtime), follow_symlinks=False)

    def open_directory(self, path: Path, mode: int, mtime: int | None = None) -> None:
        """Make a directory writable until `close_directories`."""
        self._directories[path] = mode, mtime
        if stat.S_IMODE(path.stat().st_mode) & _WRITABLE != _WRITABLE:
            path.chmod(mode | _WRITABLE)

    def close_directories(self) -> None:
        """Set the modes and times of directories, the innermost first."""
        for path, (mode, mtime) in reversed(self._directories.items()):
            if stat.S_IMODE(path.stat().st_mode) != mode:
                path.chmod(mode)
            if mtime is not None:
                os.utime(path, (mtime, mtime))

    def _make_directory(self, entry: Entry, path: Path) -> None:
        if path.is_symlink() or path.is_file():
            path.unlink()
        path.mkdir(exist_ok=True)
        self.open_directory(path, entry.mode, entry.mtime)

    def _write_file(self, entry: Entry, path: Path) -> None:
        shutil.copyfile(self._store.path(entry.content), path)
        for name, value in json.loads(entry.xattrs or "{}").items():
            try:
                os.setxattr(path, name, bytes.fromhex(value))
            except OSError as error:
                self.lost.append(f"{path.name} lacks its attribute {name}: {error.strerror}")
        path.chmod(entry.mode)
        if entry.inode:
            self._files[entry] = path

    def _make_device(self, entry: Entry, path: Path) -> None:
        kind = stat.S_IFCHR if entry.kind == "c" else stat.S_IFBLK
        major, minor = map(int, entry.content.split(":"))
        try:
            os.mknod(path, kind | entry.mode, os.makedev(major, minor))
        except OSError as error:
            self.lost.append(f"device {path.name} is missing: {error.strerror}")


def _clear(target: Path) -> None:
    """Remove what is in a directory, also from directories without write permission."""
    for folder, names, _ in os.walk(target):
        for name in names:
            path = Path(folder, name)
            if not path.is_symlink() and path.stat().st_mode & _WRITABLE != _WRITABLE:
                path.chmod(_WRITABLE)
    for item in target.iterdir():
        shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()
