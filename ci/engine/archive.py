"""Trees to tar streams and back, without holding either whole."""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from posixpath import basename, dirname, join
from typing import IO, Any, cast

from ci.engine.store import CHUNK, Store
from ci.engine.tree import DIRECTORY, EPOCH, FILE, LINK, Entry, Tree

_KINDS = {DIRECTORY: tarfile.DIRTYPE, FILE: tarfile.REGTYPE, LINK: tarfile.SYMTYPE}
#: What a tar archive ends with, at least.
END = b"\0" * tarfile.BLOCKSIZE * 2
#: What marks a path of the layers below as deleted (OCI image layer specification).
WHITEOUT = ".wh."


class Stream(io.RawIOBase):
    """A file made of an iterator of bytes."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")
        self._end = b""

    def readable(self) -> bool:
        """A stream is there to be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with what comes next; 0 at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
            self._end = (self._end + chunk[-len(END) :])[-len(END) :]
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def complete(self) -> bool:
        """Read what is left; whether all of it ended as a tar archive does."""
        for chunk in self._chunks:
            self._end = (self._end + chunk[-len(END) :])[-len(END) :]
        return self._end == END


def members(chunks: Iterable[bytes]) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Yield the members of a tar stream, each file with its content to be read at once.

    Raises:
        tarfile.TarError: the stream was cut off; a cut between members is the end for `tarfile`.
    """
    stream = Stream(chunks)
    source = cast("IO[bytes]", io.BufferedReader(stream, CHUNK))
    with tarfile.open(fileobj=source, mode="r|") as tar:
        for info in tar:
            yield info, tar.extractfile(info) if info.isreg() else None
            tar.members = []  # type: ignore[attr-defined]  # tarfile keeps them all
    if not stream.complete():
        raise tarfile.ReadError("the archive has no end")


def first(chunks: Iterable[bytes]) -> Entry | None:
    """Return the first member of a tar stream and leave the rest unread."""
    for info, _ in members(chunks):
        return entry(info)
    return None


def entry(info: tarfile.TarInfo) -> Entry | None:
    """Return what a member is; None for what a tree does not hold (devices, pipes)."""
    for kind, code in _KINDS.items():
        if info.type == code:
            link = info.linkname if kind == LINK else ""
            mode = 0o777 if kind == LINK else info.mode & 0o7777
            return Entry(kind, mode, info.uid, info.gid, int(info.mtime), 0, link)
    return None


def receive(store: Store, chunks: Iterable[bytes]) -> Tree:
    """Read what Docker sends for one path; the path's own name is left out."""
    entries: dict[str, Entry] = {}
    for info, file in members(chunks):
        _, _, path = info.name.rstrip("/").partition("/")
        if file is not None:
            content, size = store.add(file)
            entries[path] = cast("Entry", entry(info))._replace(size=size, content=content)
        elif info.islnk():  # one file under two names
            entries[path] = entries[info.linkname.partition("/")[2]]
        elif (found := entry(info)) is not None:
            entries[path] = found
    return Tree(entries)


def send(
    store: Store,
    trees: Iterable[tuple[str, Tree]],
    secrets: Iterable[tuple[str, Entry, bytes]] = (),
) -> Iterator[bytes]:
    """Yield a tar stream of trees, each below a path of its own; sorted, numeric owners only.

    Secrets are files whose content is in no store.
    """
    for path, tree in trees:
        for name, each in sorted(tree.entries.items()):
            yield from _member(store, join(path, name) if name else path, each)
    for path, each, data in secrets:
        yield whole(path, each, data)
    yield END


def _member(store: Store, path: str, each: Entry) -> Iterator[bytes]:
    yield header(path or ".", each)
    if each.kind == FILE:
        with store.path(each.content).open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
        yield _padding(each.size)


def _padding(size: int) -> bytes:
    return b"\0" * (-size % tarfile.BLOCKSIZE)


def header(path: str, each: Entry) -> bytes:
    """Return a member's header."""
    info = tarfile.TarInfo(path)
    info.type, info.mode = _KINDS[each.kind], each.mode
    info.uid, info.gid, info.mtime = each.uid, each.gid, each.mtime
    info.size = each.size if each.kind == FILE else 0
    info.linkname = each.content if each.kind == LINK else ""
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def whole(path: str, each: Entry, data: bytes) -> bytes:
    """Return one file as a member, its content out of memory: secrets are in no store."""
    return header(path, each._replace(size=len(data))) + data + _padding(len(data))


def plain(files: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """Yield the members of small files; the stream's end is not included."""
    for path, data in files:
        yield whole(path, Entry(FILE, 0o644, mtime=EPOCH), data)


def layer(store: Store, entries: dict[str, Entry], removed: Iterable[str]) -> Iterator[bytes]:
    """Yield an image layer: what it adds, and marks for what it deletes."""
    marks = {join(dirname(p), WHITEOUT + basename(p)): Entry(FILE, 0o600) for p in removed}
    empty = store.add_bytes(b"")
    every = {**entries, **{path: mark._replace(content=empty) for path, mark in marks.items()}}
    for path in sorted(path for path in every if path):
        yield from _member(store, path, every[path])
    yield END


def member(path: str, file: Path) -> Iterator[bytes]:
    """Yield a file of this host as one member."""
    size = file.stat().st_size
    yield header(path, Entry(FILE, 0o644, size=size))
    with file.open("rb") as source:
        while chunk := source.read(CHUNK):
            yield chunk
    yield _padding(size)


def image(config: bytes, name: str, tag: str, layers: Mapping[str, Path | None]) -> Iterator[bytes]:
    """Yield an image in the form of `docker save`.

    Args:
        config: the image's configuration.
        name: its SHA-256.
        tag: under which the daemon keeps it.
        layers: every layer's diff id to its file; None for one that the daemon has, which needs
            not be sent (layers are looked up by what they hold).
    """
    paths = [f"{diff.partition(':')[2]}/layer.tar" for diff in layers]
    manifest = [{"Config": f"{name}.json", "RepoTags": [tag], "Layers": paths}]
    yield from plain([(f"{name}.json", config), ("manifest.json", json.dumps(manifest).encode())])
    for path, file in zip(paths, layers.values(), strict=True):
        if file is not None:
            yield from member(path, file)
    yield END
