import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci.engine.errors import EngineError
from ci.engine.store import archive, tree
from ci.engine.store.cache import Store
from ci.engine.store.tree import DIRECTORY, FILE, FOLDER, LINK, Entry, Tree

NAMES = st.text(alphabet="abü ☃*\n", min_size=1, max_size=4).filter(lambda n: n.strip("./ "))
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


def file(text: str = "", mode: int = 0o644) -> Tree:
    return Tree({"": Entry(FILE, mode, size=len(text), content=text)})


def link(target: str) -> Tree:
    return Tree({"": Entry(LINK, 0o777, content=target)})


def of(*paths: str) -> Tree:
    made = Tree()
    for path in paths:
        made = tree.put(made, path, file(path))
    return made


@given(st.dictionaries(PATHS, st.sampled_from("xyz"), max_size=6))
def test_a_digest_does_not_depend_on_the_way(contents: dict[str, str]) -> None:
    # Only paths that are not below another: a file cannot be a directory too.
    leaves = {p: t for p, t in contents.items() if not any(q.startswith(p + "/") for q in contents)}
    forward, backward = Tree(), tree.put(Tree(), "gone", file())
    for path, text in leaves.items():
        forward = tree.put(forward, path, file(text))
    for path, text in reversed(leaves.items()):
        backward = tree.put(backward, path, file("first"))
        backward = tree.put(backward, path, file(text))
    assert forward.digest == tree.remove(backward, ["gone"]).digest


@given(PATHS, PATHS)
def test_what_was_put_is_what_is_there(place: str, inner: str) -> None:
    source = of(inner)
    assert tree.subtree(tree.put(of("other"), place, source), place) == source


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"mtime": 7}, True),
        ({"mtime": 7, "dated": True}, False),
        ({"mode": 0o600}, False),
        ({"uid": 5}, False),
        ({"content": "other"}, False),
    ],
)
def test_times_count_only_where_they_were_asked_for(change: dict[str, int], *, same: bool) -> None:
    entry = Entry(FILE, 0o644, size=1, content="x")
    changed = Tree({"": entry._replace(**change)})  # type: ignore[arg-type]
    assert (changed.digest == Tree({"": entry}).digest) is same


def test_directories_merge_and_keep_their_mode_files_replace() -> None:
    below = Tree({"": FOLDER, "d": Entry(DIRECTORY, 0o700), "d/a": Entry(FILE, 0o644)})
    above = Tree({"": FOLDER, "d": Entry(DIRECTORY, 0o755), "d/a": Entry(FILE, 0o600)})
    merged = tree.put(below, "/", above)
    assert merged.entries["d"].mode == 0o700
    assert merged.entries["d/a"].mode == 0o600


def test_a_file_takes_a_directorys_place_with_all_that_was_below() -> None:
    made = tree.put(of("a/b/c", "a/d"), "a/b", file("now a file"))
    assert sorted(made.entries) == ["", "a", "a/b", "a/d"]
    made = tree.put(made, "a", of("e"))
    assert sorted(tree.put(made, "a/b", of("new")).entries) == [
        "",
        "a",
        "a/b",
        "a/b/new",
        "a/d",
        "a/e",
    ]


def test_links_are_followed_within_the_tree_only() -> None:
    made = tree.put(of("real/f"), "way", link("real"))
    made = tree.put(made, "up", link("../../../real/f"))
    made = tree.put(made, "absolute", link("/real"))
    for path in ("way/f", "up", "absolute/f", "way/../real/f"):
        assert tree.lookup(made, path)[0] == "real/f"
    place, entry = tree.found(made, "way", follow=False)
    assert place == "way"
    assert entry is not None
    assert entry.kind == LINK
    assert "real/new" in tree.put(made, "way/new", file()).entries


def test_links_in_a_circle_end() -> None:
    made = tree.put(tree.put(Tree(), "a", link("b")), "b", link("a"))
    with pytest.raises(EngineError, match="too many levels"):
        tree.lookup(made, "a/x")


def test_removal_takes_names_with_stars_and_all_below() -> None:
    made = of("a.log", "b.log", "keep", "d/x.log", "e/f/g")
    left = tree.remove(made, ["*.log", "/e/", "not/there"])
    assert sorted(left.entries) == ["", "d", "d/x.log", "keep"]


def test_what_is_missing_is_named() -> None:
    with pytest.raises(EngineError, match="x/y: no such file or directory"):
        tree.lookup(of("x/z"), "x/y")
    with pytest.raises(EngineError, match="x/z: not a directory"):
        tree.subtree(of("x/z"), "x/z")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


FILES = st.dictionaries(
    PATHS, st.tuples(st.binary(max_size=2000), st.integers(0, 0o7777), st.integers(0, 70000))
)


@given(FILES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_a_tree_survives_the_way_through_a_tar_stream(
    store: Store, files: dict[str, tuple[bytes, int, int]]
) -> None:
    made = Tree()
    for path, (data, mode, owner) in files.items():
        entry = Entry(FILE, mode, owner, owner, 5, len(data), store.add_bytes(data))
        try:
            made = tree.put(made, path, Tree({"": entry}))
        except EngineError:  # a file among the directories above
            continue
    if any(
        made.entries[above].kind == FILE
        for path in made.entries
        for above in archive_parents(path)
        if above in made.entries
    ):
        return
    stream = archive.send(store, [("top", made)])
    assert archive.receive(store, stream) == made
    assert store.load(store.save(made)) == made


def archive_parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def test_a_layer_is_the_same_bytes_and_marks_what_it_removes(store: Store) -> None:
    content = store.add_bytes(b"x")
    entries = {"d/f": Entry(FILE, 0o644, 3, 4, size=1, content=content), "d": FOLDER}
    data = b"".join(archive.layer(store, entries, ["d/old", "top"]))
    again = b"".join(archive.layer(store, dict(reversed(entries.items())), ["top", "d/old"]))
    assert data == again
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == [".wh.top", "d", "d/.wh.old", "d/f"]
        found = tar.getmember("d/f")
        assert (found.uid, found.gid, found.uname, found.mtime) == (3, 4, "", tree.EPOCH)


def test_two_names_of_one_file_both_arrive(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"same")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(tmp_path, "top")
    made = archive.receive(store, [buffer.getvalue()])
    assert made.entries["a"].content == made.entries["b"].content != ""
