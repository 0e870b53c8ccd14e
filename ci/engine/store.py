"""What an engine keeps on disk: contents by their hash, results of steps by their key.

`blobs/` holds file contents, trees and layers under their SHA-256; `index.sqlite` maps keys to
results and remembers the hashes of files of this host, so that an unchanged source is not read
again; `key` is the secret that turns secret values into hashes; `sessions/` has a locked file for
each session, so that `prune` knows since when something may be in use.
"""

import hashlib
import hmac
import json
import os
import secrets
import sqlite3
import tempfile
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ci.engine import locks
from ci.engine.tree import Entry, Tree

CHUNK = 1 << 20
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
        for name in ("blobs", "locks", "sessions", "tmp"):
            (root / name).mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._index = sqlite3.connect(
            root / "index.sqlite", timeout=30, isolation_level=None, check_same_thread=False
        )
        self._index.executescript("pragma journal_mode=wal; pragma synchronous=normal;" + _TABLES)
        self._secret = _secret(root / "key")
        self._session: tuple[Path, locks.Lock] | None = None

    def begin(self, session: str) -> None:
        """Be in use by a session from now on, until `close` or the end of this process."""
        path = self.root / "sessions" / secrets.token_hex(8)
        lock = locks.take(path)
        if lock is not None:
            path.write_text(session, encoding="utf-8")
            self._session = path, lock

    def close(self) -> None:
        """Close the index, and be in use no more."""
        self._index.close()
        if self._session is not None:
            path, lock = self._session
            path.unlink(missing_ok=True)
            lock.release()

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
        with self.writer() as (file, done):
            file.write(first)
            while chunk := source.read(CHUNK):
                file.write(chunk)
        return done[0], int(done[1])

    def add_bytes(self, data: bytes) -> str:
        """Put bytes into the store and return their SHA-256."""
        digest = hashlib.sha256(data).hexdigest()
        if not self.use(digest):
            with self.writer() as (file, _):
                file.write(data)
        return digest

    @contextmanager
    def writer(self) -> Iterator[tuple["Hashing", list[Any]]]:
        """Give a file to write to; afterwards the list holds its SHA-256 and its size.

        The content appears whole or not at all.
        """
        done: list[Any] = []
        descriptor, name = tempfile.mkstemp(dir=self.root / "tmp")
        try:
            with os.fdopen(descriptor, "wb") as file:
                hashing = Hashing(file)
                yield hashing, done
            digest = hashing.hash.hexdigest()
            done += [digest, hashing.size]
            target = self.path(digest)
            target.parent.mkdir(exist_ok=True)
            Path(name).replace(target)
        finally:
            Path(name).unlink(missing_ok=True)

    def replace(self, path: Path, data: bytes) -> None:
        """Write a file of the cache directory whole or not at all."""
        descriptor, name = tempfile.mkstemp(dir=self.root / "tmp")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(name).replace(path)

    def read(self, digest: str) -> bytes:
        """Return a content whole."""
        return self.path(digest).read_bytes()

    def save(self, tree: Tree) -> str:
        """Put a tree into the store and return where it is."""
        rows = [[path, *entry] for path, entry in sorted(tree.entries.items())]
        return self.add_bytes(zlib.compress(json.dumps(rows).encode(), 1))

    def load(self, digest: str) -> Tree:
        """Return a tree that was saved."""
        rows = json.loads(zlib.decompress(self.read(digest)))
        return Tree({row[0]: Entry(*row[1:]) for row in rows})

    # --- results ----------------------------------------------------------------------------
    def get(self, key: str) -> Any:
        """Return the result under a key, None where there is none; remembers that it was used."""
        with self._lock:
            # Used before it is read: `drop` cannot come between and take what is returned here.
            self._index.execute("update steps set used = ? where key = ?", [time.time(), key])
            row = self._index.execute("select value from steps where key = ?", [key]).fetchone()
        return None if row is None else json.loads(row[0])

    def set(self, key: str, value: Any) -> None:
        """Keep a result under a key."""
        with self._lock:
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
        with self._lock:
            self._index.execute("begin immediate")
            self._index.executemany(
                "delete from steps where key = ? and used < ?", [(key, cutoff) for key in keys]
            )
            self._index.execute("commit")

    # --- files of this host -----------------------------------------------------------------
    def seen(self, root: str) -> dict[str, tuple[str, str]]:
        """Return what is known of the files below a path: their stamp and SHA-256."""
        with self._lock:
            rows = self._index.execute(
                "select path, stamp, content from seen where path >= ? and path < ?",
                [root, root + "\U0010ffff"],
            ).fetchall()
        return {path: (stamp, content) for path, stamp, content in rows}

    def remember(self, rows: list[tuple[str, str, str]]) -> None:
        """Keep path, stamp and SHA-256 of files of this host."""
        with self._lock:
            self._index.execute("begin")
            self._index.executemany("insert or replace into seen values (?, ?, ?)", rows)
            self._index.execute("commit")

    def forget(self, contents: Iterable[str]) -> None:
        """Forget which files of this host have these contents."""
        with self._lock:
            self._index.execute("begin")
            self._index.executemany(
                "delete from seen where content = ?", [(content,) for content in contents]
            )
            self._index.execute("commit")

    def hashed(self, secret: bytes) -> str:
        """Return a hash of a secret that says nothing to who does not hold this store's key."""
        return hmac.new(self._secret, secret, hashlib.sha256).hexdigest()


class Hashing:
    """A file that hashes what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Write and hash."""
        self.hash.update(data)
        self.size += len(data)
        return self.file.write(data)

    def tell(self) -> int:
        """Return how much was written."""
        return self.size


def _secret(path: Path) -> bytes:
    """Return the store's key, made at the first use; readable by its owner alone."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as file:
        value = secrets.token_bytes(32)
        file.write(value)
    return value
