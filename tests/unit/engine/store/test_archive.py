"""Trees and layers as tar streams."""

import io
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci.engine.errors import EngineError
from ci.engine.store import archive, overlay, patterns
from ci.engine.store.cache import Store
from ci.engine.store.overlay import Layer
from ci.engine.store.tree import FILE, FOLDER, Entry, Tree
from tests.unit.engine.store.test_overlay import LAYERS, TREES
from tests.unit.engine.store.trees import PATHS, file, link, of


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


FILES = st.dictionaries(
    PATHS, st.tuples(st.binary(max_size=2000), st.integers(0, 0o7777), st.integers(0, 70000))
)


@given(FILES)
@settings(max_examples=40)
def test_a_tree_survives_the_way_through_a_tar_stream(
    store: Store, files: dict[str, tuple[bytes, int, int]]
) -> None:
    entries: dict[str, Entry] = {"": FOLDER._replace(mtime=5)}
    for path, (data, mode, owner) in sorted(files.items()):
        above = dict.fromkeys(patterns.parents(path), FOLDER._replace(mtime=5))
        if all(entries.get(each, FOLDER).kind == FOLDER.kind for each in above):
            entries |= above
            entries[path] = Entry(FILE, mode, owner, owner, 5, len(data), store.add_bytes(data))
    made = Tree(entries)
    assert archive.receive(store, archive.send(store, [("top", made)])) == made
    assert store.load(store.save(made)) == made


def stored(store: Store, layer: Layer) -> Layer:
    """Return a layer whose files have their content in the store."""
    return Layer(entries=with_content(store, layer.entries), removed=layer.removed)


def with_content(store: Store, entries: object) -> dict[str, Entry]:
    assert isinstance(entries, dict)
    return {
        path: e._replace(content=store.add_bytes(e.content.encode()), mtime=7)
        if e.kind == FILE
        else e._replace(mtime=7)
        for path, e in entries.items()
    }


@given(TREES, LAYERS)
@settings(max_examples=60)
def test_a_layer_that_is_written_and_read_changes_the_same(
    store: Store, tree: Tree, layer: Layer
) -> None:
    tree, layer = Tree(with_content(store, tree.entries)), stored(store, layer)
    read = archive.receive_layer(store, archive.layer(store, layer, 7))
    assert overlay.apply(read, tree) == overlay.apply(layer, tree)


def names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getnames()


def test_a_layer_is_the_same_bytes_and_marks_what_it_removes(store: Store) -> None:
    content = store.add_bytes(b"x")
    entries = {"d/f": Entry(FILE, 0o644, 3, 4, size=1, content=content), "d": FOLDER}
    turned = dict(reversed(entries.items()))
    layers = [
        Layer(entries=entries, removed=frozenset({"d/old", "top"})),
        Layer(entries=turned, removed=frozenset({"top", "d/old"})),
    ]
    data, again = (b"".join(archive.layer(store, each, 9)) for each in layers)
    assert data == again
    assert names(data) == [".wh.top", "d", "d/.wh.old", "d/f"]
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = tar.getmember("d/f")
        assert (found.uid, found.gid, found.uname, found.mtime) == (3, 4, "", 9)


def test_a_directory_that_was_removed_and_created_again_is_empty(store: Store) -> None:
    made = Layer(entries={"d": FOLDER, "d/n": FOLDER}, removed=frozenset({"d"}))
    assert names(b"".join(archive.layer(store, made, 0))) == ["d", "d/.wh..wh..opq", "d/n"]


def test_a_name_that_would_delete_another_is_refused(store: Store) -> None:
    with pytest.raises(EngineError, match=r"\.wh\.x: in images a name with \.wh\. deletes"):
        list(archive.layer(store, Layer(entries={".wh.x": FOLDER}), 0))


def test_names_of_one_file_stay_names_of_one_file(store: Store, tmp_path: Path) -> None:
    top = tmp_path / "names"  # apart from the store's own files
    top.mkdir()
    (top / "a").write_bytes(b"same")
    (top / "b").hardlink_to(top / "a")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(top, "top")
    made = archive.receive(store, [buffer.getvalue()])
    assert made.entries["a"] == made.entries["b"]
    assert made.entries["a"].inode
    data = b"".join(archive.send(store, [("", made)]))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getmember("b").linkname == "a"
        assert archive.receive(store, [b"".join(archive.send(store, [("top", made)]))]) == made


SPECIAL: dict[str, Entry] = {
    "pipe": Entry("p", 0o600, mtime=5),
    "null": Entry("c", 0o666, mtime=5, content="1:3"),
    "loop": Entry("b", 0o660, mtime=5, content="7:0"),
    "link": link("./a//b")._replace(mtime=5),
}


def test_attributes_and_special_files_survive_a_stream(store: Store) -> None:
    program = file("x")._replace(
        content=store.add_bytes(b"x"), mtime=5, xattrs='{"security.capability": "0100ff"}'
    )
    made = Tree({"": FOLDER._replace(mtime=5), "program": program, **SPECIAL})
    assert archive.receive(store, archive.send(store, [("top", made)])) == made
    assert store.load(store.save(made)) == made


def test_a_content_of_another_size_never_damages_an_archive(store: Store) -> None:
    wrong = file("12345")._replace(content=store.add_bytes(b"1234567"))
    received = archive.receive(store, archive.send(store, [("t", Tree({"": FOLDER, "f": wrong}))]))
    assert store.read(received.entries["f"].content) == b"1234567"
    assert received.entries["f"].size == 7


@pytest.mark.parametrize("cut", [lambda data: data[:-600], lambda data: data[:512]])
def test_a_stream_that_was_cut_off_is_an_error(store: Store, cut: Callable[[bytes], bytes]) -> None:
    tree = Tree(with_content(store, of("a", "b").entries))
    with pytest.raises(tarfile.TarError):
        archive.receive(store, [cut(b"".join(archive.send(store, [("t", tree)])))])


def test_a_new_file_has_the_time_at_which_it_is_written(store: Store) -> None:
    before = int(time.time())
    made = Tree({"": FOLDER, "f": file("x")._replace(content=store.add_bytes(b"x"))})
    received = archive.receive(store, archive.send(store, [("t", made)]))
    assert {entry.mtime in (before, before + 1, before + 2) for entry in received.entries.values()}
    assert min(entry.mtime or 0 for entry in received.entries.values()) >= before
