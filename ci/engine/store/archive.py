"""Trees to tar streams and back, one file at a time."""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from posixpath import basename, dirname, join
from typing import IO, cast

from ci.engine.store.cache import CHUNK, Store
from ci.engine.store.tree import DIRECTORY, FILE, LINK, Entry, Tree

_KINDS = {DIRECTORY: tarfile.DIRTYPE, FILE: tarfile.REGTYPE, LINK: tarfile.SYMTYPE}
#: The minimal end of a tar archive.
END = b"\0" * tarfile.BLOCKSIZE * 2
#: Prefix of the file that deletes a path of the layers below (OCI image layer specification).
WHITEOUT = ".wh."


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
    """Return the entry of a member; None for kinds that a tree has not (devices, pipes)."""
    kind = next((kind for kind, code in _KINDS.items() if info.type == code), None)
    if kind is None:
        return None
    link = info.linkname if kind == LINK else ""
    mode = 0o777 if kind == LINK else info.mode & 0o7777
    return Entry(kind, mode, info.uid, info.gid, int(info.mtime), 0, link)


def receive(store: Store, chunks: Iterable[bytes]) -> Tree:
    """Read what Docker sends for one path; names are relative to that path."""
    entries: dict[str, Entry] = {}
    for info, file in members(chunks):
        _, _, path = info.name.rstrip("/").partition("/")
        if file is not None:
            content, size = store.add(file)
            entries[path] = cast("Entry", entry(info))._replace(size=size, content=content)
        elif info.islnk():  # hard link
            entries[path] = entries[info.linkname.partition("/")[2]]
        elif (found := entry(info)) is not None:
            entries[path] = found
    return Tree(entries)


def send(
    store: Store,
    trees: Iterable[tuple[str, Tree]],
    secrets: Iterable[tuple[str, Entry, bytes]] = (),
) -> Iterator[bytes]:
    """Yield a tar stream of trees, each below its path; sorted, with numeric owners.

    Secrets are files whose content is not in the store.
    """
    for path, tree in trees:
        for name, each in sorted(tree.entries.items()):
            place = join(path, name) if name else path
            yield from member(place, each, store.path(each.content))
    for path, each, data in secrets:
        yield from member(path, each, data)
    yield END


def layer(store: Store, entries: dict[str, Entry], removed: Iterable[str]) -> Iterator[bytes]:
    """Yield an image layer: the entries that it adds, and marks of the paths that it deletes."""
    mark = Entry(FILE, 0o600, content=store.add_bytes(b""))
    whole = entries | {join(dirname(p), WHITEOUT + basename(p)): mark for p in removed}
    for path in sorted(path for path in whole if path):
        yield from member(path, whole[path], store.path(whole[path].content))
    yield END


def plain(files: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """Yield small files as members, without the end of the stream."""
    for path, data in files:
        yield from member(path, Entry(FILE, 0o644), data)


def _size(content: bytes | Path) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def member(path: str, each: Entry, content: bytes | Path) -> Iterator[bytes]:
    """Yield one member; for a file also its content, from memory or from another file."""
    info = tarfile.TarInfo(path or ".")
    info.type, info.mode = _KINDS[each.kind], each.mode
    info.uid, info.gid, info.mtime = each.uid, each.gid, each.mtime
    info.linkname = each.content if each.kind == LINK else ""
    if each.kind == FILE:
        info.size = each.size or _size(content)
    yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    if each.kind == FILE:
        with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
        yield b"\0" * (-info.size % tarfile.BLOCKSIZE)


def image(config: bytes, name: str, tag: str, layers: Mapping[str, Path | None]) -> Iterator[bytes]:
    """Yield an image in the format of `docker save`.

    Args:
        config: the image's configuration.
        name: its SHA-256.
        tag: under which the daemon keeps it.
        layers: the file of every layer by diff id; None for a layer that the daemon has already.
    """
    paths = [f"{diff.partition(':')[2]}/layer.tar" for diff in layers]
    manifest = [{"Config": f"{name}.json", "RepoTags": [tag], "Layers": paths}]
    yield from plain([(f"{name}.json", config), ("manifest.json", json.dumps(manifest).encode())])
    for path, file in zip(paths, layers.values(), strict=True):
        if file is not None:
            yield from member(path, Entry(FILE, 0o644), file)
    yield END
