import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.engine.errors import EngineError
from ci.engine.store import tree
from ci.engine.store.tree import DIRECTORY, FILE, FOLDER, LINK, Entry, Tree
from tests.unit.engine.store.trees import NAMES, PATHS, file, link, of


@given(st.lists(PATHS, max_size=6))
def test_a_digest_does_not_depend_on_the_order(paths: list[str]) -> None:
    made = of(*(f"{path}/f" for path in paths))
    turned = Tree(dict(reversed(list(made.entries.items()))))
    assert (made.digest, made.key) == (turned.digest, turned.key)


@pytest.mark.parametrize(
    ("change", "in_key", "in_digest"),
    [
        ({"mtime": 7}, False, False),
        ({"mtime": 7, "dated": True}, True, False),
        ({"mode": 0o600}, True, True),
        ({"uid": 5}, True, True),
        ({"gid": 5}, True, True),
        ({"content": "other"}, True, True),
        ({"xattrs": '{"user.a": "00"}'}, True, True),
        ({"inode": "1"}, False, False),  # the one name of its file
    ],
)
def test_what_a_process_sees_is_in_the_key(
    change: dict[str, int], *, in_key: bool, in_digest: bool
) -> None:
    entry = Entry(FILE, 0o644, size=1, content="x")
    plain, changed = Tree({"": entry}), Tree({"": entry._replace(**change)})  # type: ignore[arg-type]
    assert (changed.key != plain.key, changed.digest != plain.digest) == (in_key, in_digest)


def test_names_of_one_file_are_in_the_key_whatever_their_number() -> None:
    one, other = (file("x")._replace(inode=inode) for inode in ("1", "2"))
    linked = Tree({"": FOLDER, "a": one, "b": one})
    assert linked.key == Tree({"": FOLDER, "a": other, "b": other}).key
    assert linked.key != Tree({"": FOLDER, "a": one, "b": other}).key
    assert tree.first_names(linked.entries) == {"a": "a", "b": "a"}


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        ("", ""),
        (".", ""),
        ("/", ""),
        ("..", ""),
        ("a/..", ""),
        ("../a", "a"),
        ("/a//b/", "a/b"),
        ("./a/./b/.", "a/b"),
        ("a/../b", "b"),
        ("x[1]?*", "x[1]?*"),
    ],
)
def test_a_path_is_relative_to_its_root(path: str, cleaned: str) -> None:
    assert tree.clean(path) == cleaned


@pytest.mark.parametrize("path", ["a" * 256, "d/" + "ä" * 128, "/".join(["a" * 200] * 21), "a\0b"])
def test_a_path_that_no_file_system_has_is_an_error(path: str) -> None:
    with pytest.raises(EngineError, match=r"exceeds the maximum|too long|null byte"):
        tree.clean(path)
    assert tree.clean("ä" * 127) == "ä" * 127


LINKS = of(
    "real/f",
    **{
        "way": link("real"),
        "up": link("../../../real/f"),
        "absolute": link("/real"),
        "chain": link("way"),
        "odd": link("./real//"),
        "nowhere": link("missing/x"),
    },
)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("way/f", "real/f"),
        ("up", "real/f"),
        ("absolute/f", "real/f"),
        ("way/../real/f", "real/f"),
        ("chain/f", "real/f"),
        ("odd/f", "real/f"),
        ("/way/./f", "real/f"),
    ],
)
def test_links_are_followed_within_the_tree_only(path: str, place: str) -> None:
    assert tree.lookup(LINKS, path) == (place, file("real/f"))


def test_the_last_link_is_followed_on_request() -> None:
    place, entry = tree.found(LINKS, "way", follow=False)
    assert (place, entry and entry.kind) == ("way", LINK)
    assert tree.found(LINKS, "nowhere") == ("missing/x", None)
    assert tree.found(LINKS, "nowhere/y") == ("missing/x/y", None)


def test_links_in_a_circle_end() -> None:
    circle = of(a=link("b"), b=link("a"))
    with pytest.raises(EngineError, match="too many levels of symbolic links"):
        tree.lookup(circle, "a/x")


def test_what_is_missing_is_named() -> None:
    with pytest.raises(EngineError, match="x/y: no such file or directory"):
        tree.lookup(of("x/z"), "x/y")
    with pytest.raises(EngineError, match="x/z/a: not a directory"):
        tree.lookup(of("x/z"), "x/z/a")


@given(PATHS, NAMES)
def test_what_is_inside_is_what_was_put_there(place: str, name: str) -> None:
    whole = of(f"{place}/{name}")
    inside = tree.inside(whole, place)
    assert dict(inside.entries) == {"": FOLDER, name: file(f"{place}/{name}")}


def test_a_difference_is_what_is_new_or_changed() -> None:
    before = of("same", "mode", "gone/f", "kept/f", time=file("t")._replace(mtime=1))
    after = of(
        "same",
        "new/f",
        "kept/f",
        "gone/",
        mode=file("mode", 0o600),
        time=file("t")._replace(mtime=2),
    )
    found = tree.difference(before, after)
    # a directory from which something was removed has changed
    assert sorted(found.entries) == ["", "gone", "mode", "new", "new/f", "time"]
    assert sorted(tree.difference(after, after).entries) == [""]


def test_a_kind_that_changes_is_a_difference() -> None:
    kinds = [of(a=file("x")), of(a=link("x")), of("a/")]
    for before in kinds:
        for after in kinds:
            found = "a" in tree.difference(before, after).entries
            assert found == (before is not after)


def test_a_time_that_one_side_lacks_is_no_difference() -> None:
    assert "a" not in tree.difference(of("a"), of(a=file("a")._replace(mtime=2))).entries


def test_permissions_and_owners_reach_everything_but_links() -> None:
    made = of("d/f", **{"d/l": link("f")})
    changed = tree.chmod(made, 0o700)
    assert {e.mode for e in changed.entries.values() if e.kind != LINK} == {0o700}
    assert changed.entries["d/l"].mode == 0o777
    assert {e[2:4] for e in tree.chown(made, 3, 4).entries.values()} == {(3, 4)}
    assert {e.kind for e in made.entries.values()} == {DIRECTORY, FILE, LINK}
