"""Content passes in pieces: no operation holds a whole file or a whole layer in memory."""

import io
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from ci.engine.docker.layers import _store_layers
from ci.engine.sources import host_exports, host_files
from ci.engine.store import archive, oci
from ci.engine.store.cache import CHUNK, Store
from ci.engine.store.overlay import Layer
from ci.engine.store.tree import FILE, Entry, Tree

SIZE = 24 << 20
#: What may be in memory: a few pieces.
LIMIT = 12 << 20
#: Pieces in which Docker sends.
PIECE = 1 << 18


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "large"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return path


@pytest.fixture(scope="module")
def large(store: Store, source: Path) -> Entry:
    """A large file whose content is in the store."""
    with source.open("rb") as file:
        content, size = store.add(file)
    return Entry(FILE, 0o644, size=size, content=content)


@contextmanager
def in_pieces() -> Iterator[None]:
    """Check that what runs in the block holds little memory at any time."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < LIMIT


def pieces(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield an archive as Docker sends it; check the pieces in which it was made."""
    for chunk in chunks:
        assert len(chunk) <= CHUNK
        for start in range(0, len(chunk), PIECE):
            yield chunk[start : start + PIECE]


def total(chunks: Iterator[bytes]) -> int:
    return sum(map(len, pieces(chunks)))


def test_a_file_of_this_host(store: Store, source: Path, tmp_path: Path) -> None:
    with in_pieces():
        tree = host_files.upload(store, source.parent)
        host_exports.export(store, tree, tmp_path / "out")
    assert tree.entries["large"].size == SIZE == (tmp_path / "out/large").stat().st_size


def test_a_tree_to_docker_and_back(store: Store, large: Entry) -> None:
    tree = Tree({"": large})
    with in_pieces():
        back = archive.receive(store, pieces(archive.send(store, [("top", tree)])))
    assert (back.root.content, back.root.size) == (large.content, SIZE)


def test_a_layer_and_back(store: Store, large: Entry) -> None:
    layer = Layer(entries={"large": large})
    with in_pieces():
        digest, size = store.write(archive.layer(store, layer, 5))
        with store.path(digest).open("rb") as file:
            back = archive.receive_layer(store, iter(partial(file.read, PIECE), b""))
    assert back.entries["large"].content == large.content
    assert size > SIZE


@pytest.mark.parametrize("gzip", [False, True])
def test_a_saved_image(store: Store, large: Entry, tmp_path: Path, *, gzip: bool) -> None:
    digest, _ = store.write(archive.layer(store, Layer(entries={"large": large}), 5))
    layers, form = [(f"sha256:{digest}", store.path(digest))], oci.ArchiveFormat(gzip=gzip)
    other = Store(tmp_path)
    with in_pieces():
        _store_layers(other, pieces(oci.write(store, {}, "amd64", layers, form)))
    assert other.path(digest).stat().st_size > SIZE


def layout(layers: list[tuple[str, Path]]) -> Iterator[bytes]:
    return oci.layout(b"{}", [(oci.described_layer(*each), each[1]) for each in layers], oci.PLAIN)


def saved(layers: list[tuple[str, Path]]) -> Iterator[bytes]:
    return archive.image(b"{}", "0", "tag", layers)


@pytest.mark.parametrize("made", [layout, saved])
def test_an_image_to_docker(
    store: Store, large: Entry, made: Callable[[list[tuple[str, Path]]], Iterator[bytes]]
) -> None:
    with in_pieces():
        size = total(made([(f"sha256:{large.content}", store.path(large.content))]))
    assert size > SIZE


def test_an_image_of_an_archive(store: Store, large: Entry, tmp_path: Path) -> None:
    digest, _ = store.write(archive.layer(store, Layer(entries={"large": large}), 5))
    layers = [(f"sha256:{digest}", store.path(digest))]
    path = tmp_path / "image.tar"
    path.write_bytes(b"".join(oci.write(store, {}, "amd64", layers, oci.PLAIN)))
    with in_pieces():
        _, found = oci.read(Store(tmp_path / "other"), path, "", "amd64")
    assert found[0][1].stat().st_size > SIZE


def test_the_check_can_fail() -> None:
    with pytest.raises(AssertionError), in_pieces():
        io.BytesIO(bytes(SIZE)).read()
