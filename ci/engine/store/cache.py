"""The cache directory of an engine: contents by their hash, results of steps by their key.

`blobs/` has file contents, trees and layers under their SHA-256. `index.sqlite` maps keys to
results, and stores the hashes of files of this host, so that an unchanged source is not read
again. `key` is the secret key with which secret values are hashed. `sessions/` has a locked file
for each session, from which `prune` knows since when something may be in use.
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

from ci.common.locks import Lock
from ci.engine.errors import CacheError
from ci.engine.store.tree import FILE, Entry, Tree

CHUNK = 1 << 20
#: A temporary file older than this, seconds, was left by a process that was killed.
ABANDONED = 86_400
#: Bytes of the key that hashes secrets.
KEY = 32
#: Part of every key: increase it when an old result under the same key would be wrong.
VERSION = 2
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
        with self._cache_errors():
            for name in ("blobs", "locks", "sessions", "tmp"):
                (root / name).mkdir(parents=True, exist_ok=True)
            # For processes that start at once: the switch to WAL does not wait for another one.
            with closing(Lock(root / "opening")):
                self._index = _opened(root / "index.sqlite")
            self._secret = self._key()
            self.remove_abandoned(time.time() - ABANDONED)
        self._session: Lock | None = None

    def register_session(self, session: str) -> None:
        """Record a session as running until `close` or the end of this process."""
        path = self.root / "sessions" / secrets.token_hex(8)
        self._session = Lock(path)
        path.write_text(session, encoding="utf-8")

    def close(self) -> None:
        """Close the index and end the session."""
        self._index.close()
        if self._session is not None:
            self._session.close(remove=True)

    @contextmanager
    def _cache_errors(self) -> Iterator[None]:
        """Raise `CacheError` with the directory for an error of the disk or the index."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise CacheError(self.root, error) from error

    def _key(self) -> bytes:
        """Return the store's key, created at the first use, readable by its owner only.

        Exactly one process creates it, and it appears complete: with two keys, or half of one, a
        secret would have two hashes.
        """
        key = self.root / "key"
        if not key.exists():
            with self._temporary_file() as (file, path), suppress(FileExistsError):
                file.write(secrets.token_bytes(KEY))
                file.close()
                key.hardlink_to(path)
        value = key.read_bytes()
        if len(value) != KEY:
            raise OSError(errno.EINVAL, f"{key} is damaged; remove the file")
        return value

    def remove_abandoned(self, before: float) -> None:
        """Remove temporary files of killed processes from before a time, seconds since 1970."""
        for path in (self.root / "tmp").iterdir():
            with suppress(FileNotFoundError):  # complete, or removed by another process
                if path.lstat().st_mtime < before:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    # --- contents ---------------------------------------------------------------------------
    def path(self, digest: str) -> Path:
        """Return the path of a content, whether it exists or not."""
        return self.root / "blobs" / digest[:2] / digest[2:]

    def has(self, digest: str) -> bool:
        """Return whether a content exists."""
        return self.path(digest).exists()

    def touch(self, digest: str, size: int) -> bool:
        """Return whether a content exists with this size, and set its last use to now.

        A file that lost its end in a crash of the machine counts as missing.
        """
        path = self.path(digest)
        try:
            os.utime(path)
            return path.stat().st_size == size
        except FileNotFoundError:
            return False

    def add(self, source: IO[bytes]) -> tuple[str, int]:
        """Copy a stream into the store; return its SHA-256 and size in bytes."""
        first = source.read(CHUNK)
        if len(first) < CHUNK:  # most files: nothing is opened if the content exists
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
        if not self.touch(digest, len(data)):
            # Many small files: their size is checked at every use, in place of an fsync for each.
            with self._writer(sync=False) as (file, _):
                file.write(data)
        return digest

    @contextmanager
    def _temporary_file(self) -> Iterator[tuple[IO[bytes], Path]]:
        """Yield a file of mode 0600 to write and then rename or link; remove what is left of it."""
        with self._cache_errors():
            descriptor, name = tempfile.mkstemp(dir=self.root / "tmp")
        file = os.fdopen(descriptor, "wb")
        try:
            yield file, Path(name)
        finally:
            with suppress(OSError):  # a failed write was raised already
                file.close()
            Path(name).unlink(missing_ok=True)

    def writer(self) -> AbstractContextManager[tuple["HashingWriter", list[Any]]]:
        """Return a file to write, and a list that gets its SHA-256 and size at the end.

        The content appears complete or not at all, even if the machine crashes.

        Raises:
            CacheError: it cannot be written, for example on a full disk.
        """
        return self._writer(sync=True)

    @contextmanager
    def _writer(self, *, sync: bool) -> Iterator[tuple["HashingWriter", list[Any]]]:
        done: list[Any] = []
        with self._temporary_file() as (file, path):
            hashing = HashingWriter(file, self._cache_errors)
            yield hashing, done
            with self._cache_errors():
                if sync and hashing.size:
                    file.flush()
                    os.fsync(file.fileno())
                file.close()
                digest = hashing.hash.hexdigest()
                target = self.path(digest)
                target.parent.mkdir(exist_ok=True)
                path.replace(target)
        done += [digest, hashing.size]

    def replace(self, target: Path, data: bytes) -> None:
        """Write a file of the cache directory atomically."""
        with self._temporary_file() as (file, path), self._cache_errors():
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            file.close()
            path.replace(target)

    def read(self, digest: str) -> bytes:
        """Return a content."""
        with self._cache_errors():
            return self.path(digest).read_bytes()

    def head_and_tail(
        self, digest: str, *, first: int = 0, last: int = 0
    ) -> tuple[bytes, bytes, int]:
        """Return the first and the last bytes of a content, and its size."""
        with self._cache_errors(), self.path(digest).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            head = file.read(first)
            file.seek(max(0, size - last))
            return head, file.read(last), size

    def save(self, tree: Tree) -> str:
        """Put a tree into the store and return its digest."""
        return self.write([_packed(tree)])[0]

    def save_small(self, tree: Tree) -> str:
        """Do the same for a small tree that may be in the store already.

        One that is not complete after a crash of the machine is an error of `load`.
        """
        return self.add_bytes(_packed(tree))

    def get_tree(self, key: str) -> Tree | None:
        """Return the tree that is stored under a key, None if there is no complete one."""
        known = self.get(key)
        with suppress(CacheError):
            return None if known is None else self.load(known)
        return None

    def load(self, digest: str) -> Tree:
        """Return a saved tree; raises `CacheError` if it or one of its files is not complete."""
        try:
            rows = json.loads(zlib.decompress(self.read(digest)))
        except (ValueError, zlib.error) as error:
            raise CacheError(self.path(digest), error) from error
        tree = Tree({row[0]: Entry(*row[1:]) for row in rows})
        with self._cache_errors():
            for each in tree.entries.values():
                if each.kind == FILE and self.path(each.content).stat().st_size < each.size:
                    raise OSError(errno.EIO, f"{self.path(each.content)} is not complete")
        return tree

    # --- results ----------------------------------------------------------------------------
    def get(self, key: str) -> Any:
        """Return the result under a key, None if there is none; set its last use to now."""
        with self._lock, self._cache_errors():
            with suppress(sqlite3.OperationalError):  # on a full disk reading still works
                # First the last use, then the value: `remove_results` cannot remove it in between.
                self._index.execute("update steps set used = ? where key = ?", [time.time(), key])
            row = self._index.execute("select value from steps where key = ?", [key]).fetchone()
        return None if row is None else json.loads(row[0])

    def set(self, key: str, value: Any) -> None:
        """Store a result under a key."""
        with self._lock, self._cache_errors():
            self._index.execute(
                "insert or replace into steps values (?, ?, ?)",
                [key, json.dumps(value), time.time()],
            )

    def results(self) -> list[tuple[str, float, Any]]:
        """Return key, time of last use and value of every result."""
        with self._lock:
            rows = self._index.execute("select key, used, value from steps").fetchall()
        return [(key, used, json.loads(value)) for key, used, value in rows]

    def remove_results(self, keys: Iterable[str], cutoff: float) -> None:
        """Remove results in one transaction, except those used since the cutoff (since 1970)."""
        rows = [(key, cutoff) for key in keys]
        self._execute_many("delete from steps where key = ? and used < ?", rows)

    def _execute_many(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Run a statement for many rows, in one transaction."""
        with self._lock, self._cache_errors(), self._index:
            self._index.execute("begin immediate")
            self._index.executemany(statement, rows)

    # --- files of this host -----------------------------------------------------------------
    def known_files(self, root: str) -> dict[str, tuple[str, str]]:
        """Return stamp and SHA-256 of the files below a path that were read before."""
        with self._lock, self._cache_errors():
            rows = self._index.execute(
                "select path, stamp, content from seen where path >= ? and path < ?",
                [root, root + "\U0010ffff"],
            ).fetchall()
        return {path: (stamp, content) for path, stamp, content in rows}

    def remember_files(self, rows: list[tuple[str, str, str]]) -> None:
        """Store path, stamp and SHA-256 of files of this host."""
        self._execute_many("insert or replace into seen values (?, ?, ?)", rows)

    def forget_files(self, contents: Iterable[str]) -> None:
        """Remove what is known of the files of this host with these contents."""
        self._execute_many(
            "delete from seen where content = ?", [(content,) for content in contents]
        )

    @property
    def identity(self) -> str:
        """A name of this store that is not the name of its directory."""
        return self.hash_secret(b"the store itself")[:16]

    def tag(self, name: str) -> str:
        """Return the tag of one of this store's images; other stores have other tags."""
        return f"{self.identity}-{name[:40]}"

    def hash_secret(self, secret: bytes) -> str:
        """Return the keyed hash of a secret, which reveals nothing without this store's key."""
        return hmac.new(self._secret, secret, hashlib.sha256).hexdigest()


class HashingWriter:
    """Writes to a file and hashes what it writes."""

    def __init__(self, file: IO[bytes], errors: Callable[[], AbstractContextManager[None]]) -> None:
        self._file = file
        self._errors = errors
        self.hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Write and hash."""
        self.hash.update(data)
        self.size += len(data)
        with self._errors():
            return self._file.write(data)


def _packed(tree: Tree) -> bytes:
    rows = [[path, *entry] for path, entry in sorted(tree.entries.items())]
    return zlib.compress(json.dumps(rows).encode(), 1)


def _opened(path: Path) -> sqlite3.Connection:
    index = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    index.executescript("pragma journal_mode=wal; pragma synchronous=normal;" + _TABLES)
    return index
