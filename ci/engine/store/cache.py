"""What an engine keeps on disk: contents by their hash, results of steps by their key.

`blobs/` holds file contents, trees and layers under their SHA-256; `index.sqlite` maps keys to
results and remembers the hashes of files of this host, so that an unchanged source is not read
again; `key` is the secret that turns secret values into hashes; `sessions/` has a locked file for
each session, so that `prune` knows since when something may be in use.
"""

import errno
import hashlib
import hmac
import json
import os
import secrets
import shutil
import sqlite3
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, Any

from ci.engine.errors import CacheError
from ci.engine.locks import Lock
from ci.engine.store.tree import Entry, Tree

CHUNK = 1 << 20
#: A file being written that is older than this, seconds, is one of a process that was killed.
ABANDONED = 86_400
#: Bytes of the key that hashes secrets.
KEY = 32
#: Part of every key: raise it when the same key would mean something else.
VERSION = 1
_TABLES = """
create table if not exists steps (key text primary key, value text, used real) without rowid;
create table if not exists seen (path text primary key, stamp text, content text) without rowid;
"""


def key_of(*parts: Any) -> str:
    """Return the key of plain data: SHA-256 of its JSON."""
    return hashlib.sha256(json.dumps([VERSION, *parts], sort_keys=True).encode()).hexdigest()


class Store:
    """One cache directory; safe for several threads and processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.Lock()
        with self._usable():
            for name in ("blobs", "locks", "sessions", "tmp"):
                (root / name).mkdir(parents=True, exist_ok=True)
            # Processes that begin at once: switching to WAL does not wait for another one.
            with closing(Lock(root / "opening")):
                self._index = _opened(root / "index.sqlite")
            self._secret = self._key()
            self.sweep(time.time() - ABANDONED)
        self._session: Lock | None = None

    def begin(self, session: str) -> None:
        """Be in use by a session from now on, until `close` or the end of this process."""
        path = self.root / "sessions" / secrets.token_hex(8)
        self._session = Lock(path)
        path.write_text(session, encoding="utf-8")

    def close(self) -> None:
        """Close the index, and be in use no more."""
        self._index.close()
        if self._session is not None:
            self._session.close(remove=True)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Turn what the disk refuses into an error that says where."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise CacheError(self.root, error) from error

    def _key(self) -> bytes:
        """Return the store's key, made at the first use; readable by its owner alone.

        It appears whole, and the first process that makes one wins: two keys, or half of one,
        would give one secret two hashes.
        """
        key = self.root / "key"
        if not key.exists():
            with self._temporary() as (file, path), suppress(FileExistsError):
                file.write(secrets.token_bytes(KEY))
                file.close()
                key.hardlink_to(path)
        value = key.read_bytes()
        if len(value) != KEY:
            raise OSError(errno.EINVAL, f"{key} is damaged; remove it")
        return value

    def sweep(self, before: float) -> None:
        """Remove what processes that were killed before that time had begun to write."""
        for path in (self.root / "tmp").iterdir():
            with suppress(FileNotFoundError):  # written to its end, or swept by another process
                if path.lstat().st_mtime < before:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    # --- contents ---------------------------------------------------------------------------
    def path(self, digest: str) -> Path:
        """Return where a content lies, whether it is there or not."""
        return self.root / "blobs" / digest[:2] / digest[2:]

    def has(self, digest: str) -> bool:
        """Whether a content is there."""
        return self.path(digest).exists()

    def use(self, digest: str) -> bool:
        """Whether a content is there; it counts as used now, as if it had just been written."""
        try:
            os.utime(self.path(digest))
        except FileNotFoundError:
            return False
        return True

    def add(self, source: IO[bytes]) -> tuple[str, int]:
        """Copy a stream into the store; return its SHA-256 and size in bytes."""
        first = source.read(CHUNK)
        if len(first) < CHUNK:  # most files: not even opened where the content is there
            return self.add_bytes(first), len(first)
        return self.write(chain([first], iter(partial(source.read, CHUNK), b"")))

    def write(self, chunks: Iterable[bytes]) -> tuple[str, int]:
        """Put a content into the store in pieces; return its SHA-256 and size in bytes."""
        with self.writer() as (file, done):
            for chunk in chunks:
                file.write(chunk)
        return done[0], done[1]

    def add_bytes(self, data: bytes) -> str:
        """Put bytes into the store and return their SHA-256."""
        digest = hashlib.sha256(data).hexdigest()
        if not self.use(digest):
            self.write([data])
        return digest

    @contextmanager
    def _temporary(self) -> Iterator[tuple[IO[bytes], Path]]:
        """Give a file of mode 0600 to write and to rename or link; it is gone afterwards."""
        with self._usable():
            descriptor, name = tempfile.mkstemp(dir=self.root / "tmp")
        file = os.fdopen(descriptor, "wb")
        try:
            yield file, Path(name)
        finally:
            with suppress(OSError):  # what could not be written is told already
                file.close()
            Path(name).unlink(missing_ok=True)

    @contextmanager
    def writer(self) -> Iterator[tuple["Hashing", list[Any]]]:
        """Give a file to write to; afterwards the list holds its SHA-256 and its size.

        The content appears whole or not at all.

        Raises:
            CacheError: it cannot be written, as on a full disk.
        """
        done: list[Any] = []
        with self._temporary() as (file, path):
            hashing = Hashing(file, self._usable)
            yield hashing, done
            with self._usable():
                file.close()
                digest = hashing.hash.hexdigest()
                target = self.path(digest)
                target.parent.mkdir(exist_ok=True)
                path.replace(target)
        done += [digest, hashing.size]

    def replace(self, target: Path, data: bytes) -> None:
        """Write a file of the cache directory whole or not at all."""
        with self._temporary() as (file, path), self._usable():
            file.write(data)
            file.close()
            path.replace(target)

    def read(self, digest: str) -> bytes:
        """Return a content whole."""
        with self._usable():
            return self.path(digest).read_bytes()

    def ends(self, digest: str, *, first: int = 0, last: int = 0) -> tuple[bytes, bytes, int]:
        """Return the first and the last bytes of a content, and how many it has."""
        with self._usable(), self.path(digest).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            head = file.read(first)
            file.seek(max(0, size - last))
            return head, file.read(last), size

    def save(self, tree: Tree) -> str:
        """Put a tree into the store and return where it is."""
        rows = [[path, *entry] for path, entry in sorted(tree.entries.items())]
        return self.add_bytes(zlib.compress(json.dumps(rows).encode(), 1))

    def kept(self, key: str) -> Tree | None:
        """Return the tree that is the result under a key, None where there is none."""
        known = self.get(key)
        return self.load(known) if known is not None and self.has(known) else None

    def load(self, digest: str) -> Tree:
        """Return a tree that was saved; raises `CacheError` where it is gone or damaged."""
        try:
            rows = json.loads(zlib.decompress(self.read(digest)))
        except (ValueError, zlib.error) as error:
            raise CacheError(self.path(digest), error) from error
        return Tree({row[0]: Entry(*row[1:]) for row in rows})

    # --- results ----------------------------------------------------------------------------
    def get(self, key: str) -> Any:
        """Return the result under a key, None where there is none; remembers that it was used."""
        with self._lock, self._usable():
            with suppress(sqlite3.OperationalError):  # a full disk can still be read
                # Used before it is read: `drop` cannot come between and take what is returned.
                self._index.execute("update steps set used = ? where key = ?", [time.time(), key])
            row = self._index.execute("select value from steps where key = ?", [key]).fetchone()
        return None if row is None else json.loads(row[0])

    def set(self, key: str, value: Any) -> None:
        """Keep a result under a key."""
        with self._lock, self._usable():
            self._index.execute(
                "insert or replace into steps values (?, ?, ?)",
                [key, json.dumps(value), time.time()],
            )

    def results(self) -> list[tuple[str, float, Any]]:
        """Return key, time of last use and value of every result."""
        with self._lock:
            rows = self._index.execute("select key, used, value from steps").fetchall()
        return [(key, used, json.loads(value)) for key, used, value in rows]

    def drop(self, keys: Iterable[str], cutoff: float) -> None:
        """Forget results, all at once, except those used since the cutoff (seconds since 1970)."""
        rows = [(key, cutoff) for key in keys]
        self._many("delete from steps where key = ? and used < ?", rows)

    def _many(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Run a statement for many rows, in one transaction."""
        with self._lock, self._usable(), self._index:
            self._index.execute("begin immediate")
            self._index.executemany(statement, rows)

    # --- files of this host -----------------------------------------------------------------
    def seen(self, root: str) -> dict[str, tuple[str, str]]:
        """Return what is known of the files below a path: their stamp and SHA-256."""
        with self._lock, self._usable():
            rows = self._index.execute(
                "select path, stamp, content from seen where path >= ? and path < ?",
                [root, root + "\U0010ffff"],
            ).fetchall()
        return {path: (stamp, content) for path, stamp, content in rows}

    def remember(self, rows: list[tuple[str, str, str]]) -> None:
        """Keep path, stamp and SHA-256 of files of this host."""
        self._many("insert or replace into seen values (?, ?, ?)", rows)

    def forget(self, contents: Iterable[str]) -> None:
        """Forget which files of this host have these contents."""
        self._many("delete from seen where content = ?", [(content,) for content in contents])

    def hashed(self, secret: bytes) -> str:
        """Return a hash of a secret that says nothing to who does not hold this store's key."""
        return hmac.new(self._secret, secret, hashlib.sha256).hexdigest()


class Hashing:
    """A file that hashes what is written to it."""

    def __init__(self, file: IO[bytes], usable: Callable[[], AbstractContextManager[None]]) -> None:
        self._file = file
        self._usable = usable
        self.hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Write and hash."""
        self.hash.update(data)
        self.size += len(data)
        with self._usable():
            return self._file.write(data)


def _opened(path: Path) -> sqlite3.Connection:
    index = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    index.executescript("pragma journal_mode=wal; pragma synchronous=normal;" + _TABLES)
    return index
