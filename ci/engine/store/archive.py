"""Trees to tar streams and back, one file at a time."""

import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from posixpath import basename, dirname, join
from typing import IO, cast

from ci.engine.errors import EngineError
from ci.engine.store.cache import CHUNK, Store
from ci.engine.store.overlay import Layer
from ci.engine.store.tree import (
    BLOCK_DEVICE,
    CHARACTER_DEVICE,
    DIRECTORY,
    FILE,
    LINK,
    PIPE,
    Entry,
    Tree,
    first_names,
)

_KINDS = {
    DIRECTORY: tarfile.DIRTYPE,
    FILE: tarfile.REGTYPE,
    LINK: tarfile.SYMTYPE,
    PIPE: tarfile.FIFOTYPE,
    CHARACTER_DEVICE: tarfile.CHRTYPE,
    BLOCK_DEVICE: tarfile.BLKTYPE,
}
_DEVICES = (CHARACTER_DEVICE, BLOCK_DEVICE)
#: The minimal end of a tar archive.
END = b"\0" * tarfile.BLOCKSIZE * 2
#: Prefix of the file that deletes a path of the layers below (OCI image layer specification).
WHITEOUT = ".wh."
#: Name of the file that deletes what the layers below have in its directory.
OPAQUE = ".wh..wh..opq"
#: Prefix of the header with an extended attribute.
_XATTR = "SCHILY.xattr."


class _Source:
    """Chunks as a file for `tarfile`, with a check of their end."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = filter(None, chunks)
        self._rest = memoryview(b"")
        self._end = b""

    def read(self, size: int) -> bytes:
        if not self._rest:
            chunk = next(self._chunks, b"")
            self._rest = memoryview(chunk)
            self._end = (self._end + chunk[-len(END) :])[-len(END) :]
        data, self._rest = self._rest[:size], self._rest[size:]
        return bytes(data)

    def complete(self) -> bool:
        """Read the rest; return whether it ends as a tar archive does."""
        while self.read(CHUNK):
            pass
        return self._end == END


def members(chunks: Iterable[bytes]) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Yield the members of a tar stream; the content of a file must be read before the next one.

    Raises:
        tarfile.TarError: the stream was cut off; `tarfile` itself does not see a cut between
            members.
    """
    source = _Source(chunks)
    with tarfile.open(fileobj=cast("IO[bytes]", source), mode="r|") as tar:
        for info in tar:
            yield info, tar.extractfile(info) if info.isreg() else None
            tar.members = []  # type: ignore[attr-defined]  # tarfile would keep them all in memory
    if not source.complete():
        raise tarfile.ReadError("the archive is cut off")


def first(chunks: Iterable[bytes]) -> Entry | None:
    """Return the first member of a tar stream; the rest is not read."""
    for info, _ in members(chunks):
        return entry(info)
    return None


def entry(info: tarfile.TarInfo) -> Entry | None:
    """Return the entry of a member; None for what has no content of its own (hard links)."""
    kind = next((kind for kind, code in _KINDS.items() if info.type == code), None)
    if kind is None:
        return None
    content = info.linkname if kind == LINK else ""
    if kind in _DEVICES:
        content = f"{info.devmajor}:{info.devminor}"
    mode = 0o777 if kind == LINK else info.mode & 0o7777
    size = len(os.fsencode(content)) if kind == LINK else info.size
    found = {
        name.removeprefix(_XATTR): value.encode("utf-8", "surrogateescape").hex()
        for name, value in info.pax_headers.items()
        if name.startswith(_XATTR)
    }
    xattrs = json.dumps(found, sort_keys=True) if found else ""
    return Entry(kind, mode, info.uid, info.gid, int(info.mtime), size, content, xattrs=xattrs)


def receive(store: Store, chunks: Iterable[bytes]) -> Tree:
    """Read what Docker sends for one path; names are relative to that path."""
    return Tree(_entries(store, chunks, lambda name: name.rstrip("/").partition("/")[2]))


def receive_layer(store: Store, chunks: Iterable[bytes]) -> Layer:
    """Read an image layer."""
    found = _entries(store, chunks, lambda name: name.removeprefix("./").strip("/"))
    entries = {path: e for path, e in found.items() if not basename(path).startswith(WHITEOUT)}
    removed = set()
    for path in found.keys() - entries.keys():
        name = basename(path).removeprefix(WHITEOUT)
        removed.add(dirname(path) if basename(path) == OPAQUE else join(dirname(path), name))
    entries.pop("", None)
    return Layer(entries=entries, removed=frozenset(removed - {""}))


def _entries(
    store: Store, chunks: Iterable[bytes], path_of: Callable[[str], str]
) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for info, file in members(chunks):
        path = path_of(info.name)
        if info.islnk():
            target = path_of(info.linkname)
            linked = entries[target]._replace(inode=entries[target].inode or target)
            entries |= {target: linked, path: linked}
        elif (found := entry(info)) is not None:
            if file is not None:
                content, size = store.add(file)
                found = found._replace(size=size, content=content)
            entries[path] = found
    return entries


def send(
    store: Store,
    trees: Iterable[tuple[str, Tree]],
    secrets: Iterable[tuple[str, Entry, bytes]] = (),
) -> Iterator[bytes]:
    """Yield a tar stream of trees, each below its path; sorted, with numeric owners.

    Secrets are files whose content is not in the store.
    """
    now = int(time.time())
    for path, tree in trees:
        placed = {join(path, name) if name else path: e for name, e in tree.entries.items()}
        yield from _members(store, placed, now)
    for path, each, data in secrets:
        yield from member(path, _at(each, now), data)
    yield END


def layer(store: Store, made: Layer, now: int) -> Iterator[bytes]:
    """Yield an image layer; `now` is the time of entries without one, seconds since 1970.

    Raises:
        EngineError: a name would delete another one in an image.
    """
    mark = Entry(FILE, 0o600, content=store.add_bytes(b""))
    whole = dict(made.entries)
    for path in whole:
        if basename(path).startswith(WHITEOUT):
            raise EngineError(f"{path}: in images a name with {WHITEOUT} deletes another one")
    for path in made.removed:
        if path not in whole:
            whole[join(dirname(path), WHITEOUT + basename(path))] = mark
        elif whole[path].kind == DIRECTORY:
            whole[join(path, OPAQUE)] = mark
    whole.pop("", None)
    yield from _members(store, whole, now)
    yield END


def _members(store: Store, entries: Mapping[str, Entry], now: int) -> Iterator[bytes]:
    """Yield the members of entries, sorted; further names of a file are links to the first."""
    names = first_names(entries)
    for path, each in sorted(entries.items()):
        first = names.get(path, path)
        content = store.path(each.content)
        yield from member(path, _at(each, now), content, link=first if first != path else "")


def _at(entry: Entry, now: int) -> Entry:
    return entry._replace(mtime=now) if entry.mtime is None else entry


def plain(files: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """Yield small files as members, without the end of the stream."""
    for path, data in files:
        yield from member(path, Entry(FILE, 0o644), data)


def member(path: str, each: Entry, content: bytes | Path, link: str = "") -> Iterator[bytes]:
    """Yield one member: a file with its content, or a hard link to another member.

    The size is that of the content, so that the archive is never damaged by another one.
    """
    info = tarfile.TarInfo(path or ".")
    info.type, info.mode = _KINDS[each.kind], each.mode
    info.uid, info.gid, info.mtime = each.uid, each.gid, each.mtime or 0
    info.linkname = each.content if each.kind == LINK else ""
    if each.kind in _DEVICES:
        info.devmajor, info.devminor = map(int, each.content.split(":"))
    for name, value in json.loads(each.xattrs or "{}").items():
        text = bytes.fromhex(value).decode("utf-8", "surrogateescape")
        info.pax_headers = {**info.pax_headers, f"{_XATTR}{name}": text}
    if link:
        info.type, info.linkname = tarfile.LNKTYPE, link
    if link or each.kind != FILE:
        yield _header(info)
        return
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        info.size = file.seek(0, io.SEEK_END)
        file.seek(0)
        yield _header(info)
        while chunk := file.read(CHUNK):
            yield chunk
    yield b"\0" * (-info.size % tarfile.BLOCKSIZE)


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def image(
    config: bytes, name: str, tag: str, layers: Sequence[tuple[str, Path | None]]
) -> Iterator[bytes]:
    """Yield an image in the format of `docker save`.

    Args:
        config: the image's configuration.
        name: its SHA-256.
        tag: under which the daemon keeps it.
        layers: diff id and file of every layer; None for a layer that the daemon has already.
    """
    files = [(f"{diff.partition(':')[2]}/layer.tar", file) for diff, file in layers]
    manifest = [{"Config": f"{name}.json", "RepoTags": [tag], "Layers": [p for p, _ in files]}]
    yield from plain([(f"{name}.json", config), ("manifest.json", json.dumps(manifest).encode())])
    for path, file in dict(files).items():
        if file is not None:
            yield from member(path, Entry(FILE, 0o644), file)
    yield END
