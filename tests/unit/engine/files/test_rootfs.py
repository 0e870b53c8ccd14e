"""States: an image and layers are the same files as one tree."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci.engine.errors import EngineError
from ci.engine.files.rootfs import DOCKERS_OWN, Rootfs, State, without_dockers_own
from ci.engine.store import edits, overlay
from ci.engine.store.cache import Store
from ci.engine.store.edits import TreeView, View
from ci.engine.store.overlay import Layer
from ci.engine.store.tree import FOLDER, Tree
from tests.unit.engine.store.test_overlay import PLACES, TREES, require_sound
from tests.unit.engine.store.trees import file, link, of

Edit = Callable[[View], Awaitable[Layer]]
PATHS = st.one_of(PLACES, st.sampled_from(["", "/", "a/", "a/../b", "*", "a/*", "b/."]))
TARGETS = st.sampled_from(["a", "b/c", "../a", "/a/b", "."])


def edit(kind: str, path: str, tree: Tree, target: str) -> Edit:
    """Return one operation on files."""
    return {
        "write": lambda view: edits.write(view, path, file(target)),
        "copy file": lambda view: edits.copy_file(view, path, "f", file("copy", 0o600), (3, 4)),
        "copy directory": lambda view: edits.copy_directory(view, path, tree),
        "link": lambda view: edits.symlink(view, path, target),
        "new directory": lambda view: edits.new_directory(view, path, 0o700),
        "remove": lambda view: edits.remove(view, path),
        "chown": lambda view: edits.chown(view, path, (5, 6)),
        "times": lambda view: edits.set_times(view, path, 7),
    }[kind]


KINDS = (
    "write",
    "copy file",
    "copy directory",
    "link",
    "new directory",
    "remove",
    "chown",
    "times",
)
EDITS = st.lists(st.builds(edit, st.sampled_from(KINDS), PATHS, TREES, TARGETS), max_size=8)


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Rootfs:
    """A root file system without a container engine: all files are in layers."""
    return Rootfs(Store(tmp_path_factory.mktemp("store")), cast("Any", None))


async def outcome(change: Edit, view: View) -> Layer | str:
    """Return the layer of a change, or its error."""
    try:
        return await change(view)
    except EngineError as error:
        return str(error)


@given(changes=EDITS)
@settings(max_examples=150, deadline=None)
async def test_layers_are_the_same_files_as_a_tree(rootfs: Rootfs, changes: list[Edit]) -> None:
    state, tree = State(), Tree()
    for change in changes:
        layer = await outcome(change, rootfs.view(state))
        expected = await outcome(change, TreeView(tree))
        assert layer == expected
        if isinstance(layer, Layer):
            state, tree = state.after(layer), overlay.apply(layer, tree)
            require_sound(tree)
    assert await rootfs.tree_at(state, "") == tree
    for path in tree.entries:
        assert await rootfs.entry_at(state, path) == tree.entries[path]
        part = await rootfs.tree_at(state, path)
        assert part is not None
        assert part.root == tree.entries[path]


def test_a_thousand_edits_are_few_layers() -> None:
    state = State()
    for number in range(1000):
        state = state.after(Layer(entries={f"f{number}": file()}))
    assert len(state.layers) < 12
    assert sum(layer.size for layer in state.layers) == 1000


def test_a_change_of_nothing_is_no_layer() -> None:
    assert State().after(Layer()) == State()


def test_what_docker_adds_to_a_container_is_no_change_of_its_files() -> None:
    now = 1_900_000_000
    added = {".dockerenv": file(), "etc/mtab": link("/proc/mounts")}
    tree = of("etc/hosts/", "etc/own", **added)
    dated = Tree({path: entry._replace(mtime=now) for path, entry in tree.entries.items()})
    dated.entries["etc/hostname"] = file()._replace(mtime=now)  # type: ignore[index]
    whole = without_dockers_own(dated, "")
    assert ".dockerenv" not in whole.entries
    undated = {path for path, entry in whole.entries.items() if entry.mtime is None}
    assert undated == {"etc/hosts", "etc/hostname", "etc/mtab"}
    etc = Tree({"": FOLDER, "mtab": link("x")._replace(mtime=now), "own": file()._replace(mtime=1)})
    inner = without_dockers_own(etc, "etc").entries
    assert (inner["mtab"].mtime, inner["own"].mtime) == (None, 1)
    assert "etc/mtab" in DOCKERS_OWN


def test_a_mark_of_a_container_is_no_file_of_its_image() -> None:
    marked = of("run/own", **{".dockerenv": file(), "run/.containerenv": file()})
    assert set(without_dockers_own(marked, "").entries) == {"", "run", "run/own"}
    run = of("own", **{".containerenv": file()})
    assert set(without_dockers_own(run, "run").entries) == {"", "own"}
    written = of(**{"run/.containerenv": file()._replace(size=7)})
    assert "run/.containerenv" in without_dockers_own(written, "").entries


async def test_nothing_is_asked_below_a_directory_that_an_image_lacks(tmp_path: Path) -> None:
    asked: list[str] = []

    class Empty:
        async def read_entry(self, _image: str, path: str) -> None:
            asked.append(path)

    rootfs = Rootfs(Store(tmp_path), cast("Any", Empty()))
    state = State(image="sha256:1")
    for number in range(100):
        content = Tree({"": FOLDER, "f": file("f")})
        layer = await edits.copy_directory(rootfs.view(state), f"/new/{number}/a", content)
        state = state.after(layer)
    assert asked == ["new"]


async def test_an_image_layer_removes_nothing_in_what_it_removes_itself(rootfs: Rootfs) -> None:
    """Overlayfs would list a removed name in a directory that hides all below it."""
    below = State(layers=(Layer(entries={"d": FOLDER, "d/x": file("x"), "y": file("y")}),))
    made = Layer(entries={"d": FOLDER}, removed=frozenset({"d", "d/x", "y", "z"}))
    assert (await rootfs._effective(below, made)).removed == {"d", "y"}
