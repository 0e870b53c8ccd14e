"""What operations on files change: the rules of a Dagger engine v0.21.8, asked case by case."""

from collections.abc import Awaitable, Callable

import pytest

from ci.engine.errors import EngineError
from ci.engine.store import edits, overlay
from ci.engine.store.edits import TreeView, View
from ci.engine.store.overlay import Layer
from ci.engine.store.tree import FOLDER, LINK, Entry, Tree
from tests.unit.engine.store.test_overlay import require_sound
from tests.unit.engine.store.trees import file, link, of

NEW = file("new")
LINKED = of(
    "t",
    "d/in",
    **{"l": link("t"), "ld": link("d"), "dangling": link("no/where"), "up": link("../../d")},
)


async def after(change: Callable[[View], Awaitable[Layer]], tree: Tree) -> Tree:
    """Return a tree after a change."""
    found = overlay.apply(await change(TreeView(tree)), tree)
    require_sound(found)
    return found


def texts(tree: Tree) -> dict[str, str]:
    """Return the content of files and the target of links by path."""
    return {path: e.content for path, e in tree.entries.items() if e.content}


def added(before: Tree, found: Tree) -> dict[str, str]:
    """Return what differs from the tree before."""
    return {p: t for p, t in texts(found).items() if texts(before).get(p) != t}


# --- writing --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("a", "a"),
        ("/a//b", "a/b"),
        ("../a", "a"),
        ("a/../b", "b"),
        ("./a/./b", "a/b"),
        ("x[1]*?", "x[1]*?"),
        ("l", "t"),  # a write follows the links in its path, as a process does
        ("ld/f", "d/f"),
        ("dangling", "no/where"),
        ("up/f", "d/f"),
    ],
)
async def test_a_write_is_where_a_process_would_write(path: str, place: str) -> None:
    found = await after(lambda view: edits.write(view, path, NEW), LINKED)
    assert added(LINKED, found) == {place: "new"}
    assert found.entries["l"] == link("t")


@pytest.mark.parametrize("path", ["", ".", "/", "..", "a/..", "d", "ld"])
async def test_a_write_to_a_directory_is_an_error(path: str) -> None:
    with pytest.raises(EngineError, match="is a directory"):
        await edits.write(TreeView(LINKED), path, NEW)


async def test_a_write_below_a_file_is_an_error() -> None:
    with pytest.raises(EngineError, match="t/x: not a directory"):
        await edits.write(TreeView(LINKED), "t/x", NEW)


async def test_a_write_keeps_the_mode_and_the_owner_of_its_file() -> None:
    tree = of(f=file("old", 0o600, owner=7))
    found = await after(lambda view: edits.write(view, "f", file("new", 0o644)), tree)
    assert found.entries["f"] == file("new", 0o600, owner=7)


# --- copies of files ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("l", "l"),  # a copy replaces a link, other than a write
        ("dangling", "dangling"),
        ("t", "t"),
        ("d", "d/f"),
        ("ld", "d/f"),
        ("ld/", "d/f"),
        ("d/.", "d/f"),
        ("n/", "n/f"),
        ("n/m", "n/m"),
        ("", "f"),
    ],
)
async def test_a_copy_of_a_file_replaces_a_name_or_goes_into_a_directory(
    path: str, place: str
) -> None:
    found = await after(lambda view: edits.copy_file(view, path, "f", NEW), LINKED)
    assert added(LINKED, found) == {place: "new"}


@pytest.mark.parametrize("path", ["t/", "t/x", "l/x"])
async def test_a_copy_of_a_file_below_a_file_is_an_error(path: str) -> None:
    with pytest.raises(EngineError, match="cannot copy directory to non-directory"):
        await edits.copy_file(TreeView(LINKED), path, "f", NEW)


async def test_the_owner_of_a_copy_is_that_of_the_directory_created_for_it() -> None:
    found = await after(lambda view: edits.copy_file(view, "n/", "f", NEW, (3, 4)), Tree())
    assert {found.entries[p][2:4] for p in ("n", "n/f")} == {(3, 4)}


# --- copies of directories ----------------------------------------------------------------------
async def test_a_copied_directory_merges_and_gives_its_mode_and_owner() -> None:
    below = Tree({**of("d/a", "d/b/c").entries, "d": FOLDER._replace(mode=0o700)})
    source = Tree({**of("a", "b/n").entries, "": FOLDER._replace(mode=0o750, uid=5)})
    found = await after(lambda view: edits.copy_directory(view, "d", source), below)
    assert sorted(found.entries) == ["", "d", "d/a", "d/b", "d/b/c", "d/b/n"]
    assert (found.entries["d"].mode, found.entries["d"].uid) == (0o750, 5)
    assert found.entries["d/a"].content == "a"


async def test_a_copied_directory_gives_its_time() -> None:
    # A Dagger engine does so for the directories in it only.
    source = Tree({"": FOLDER._replace(mtime=5, dated=True), "i": FOLDER._replace(mtime=5)})
    found = await after(lambda view: edits.copy_directory(view, "q", source), Tree())
    assert (found.entries["q"].mtime, found.entries["q/i"].mtime) == (5, 5)


async def test_what_is_no_directory_is_replaced_with_all_that_was_below() -> None:
    found = await after(lambda view: edits.copy_directory(view, "", of(a=NEW)), of("a/b/c", "d"))
    assert texts(found) == {"a": "new", "d": "d"}
    found = await after(lambda view: edits.copy_directory(view, "", of("a/n")), found)
    assert texts(found) == {"a/n": "a/n", "d": "d"}


async def test_a_directory_is_copied_through_a_link_to_a_directory() -> None:
    found = await after(lambda view: edits.copy_directory(view, "ld", of("n")), LINKED)
    assert added(LINKED, found) == {"d/n": "n"}
    found = await after(lambda view: edits.copy_directory(view, "", of("ld/n")), LINKED)
    assert added(LINKED, found) == {"d/n": "ld/n"}
    with pytest.raises(EngineError, match="cannot copy directory to non-directory"):
        await edits.copy_directory(TreeView(LINKED), "", of("l/n"))


async def test_a_copy_of_names_of_one_file_is_another_file() -> None:
    one = file("x")._replace(inode="1")
    source = of(a=one, b=one)
    found = await after(lambda view: edits.copy_directory(view, "d", source), source)
    inodes = [found.entries[path].inode for path in ("a", "b", "d/a", "d/b")]
    assert inodes[:2] == ["1", "1"]
    assert inodes[2] == inodes[3] not in ("", "1")


# --- links and directories ----------------------------------------------------------------------
async def test_a_link_is_created_and_never_replaces_anything() -> None:
    found = await after(lambda view: edits.symlink(view, "ld/new/l", "../x"), LINKED)
    assert added(LINKED, found) == {"d/new/l": "../x"}
    for path in ("l", "ld", "dangling", "t", "d", "", "."):
        with pytest.raises(EngineError, match="file exists"):
            await edits.symlink(TreeView(LINKED), path, "x")
    with pytest.raises(EngineError, match="no such file or directory"):
        await edits.symlink(TreeView(LINKED), "n", "")


async def test_a_new_directory_has_its_mode_and_one_that_exists_keeps_it() -> None:
    found = await after(lambda view: edits.new_directory(view, "n/m", 0o700), LINKED)
    assert {found.entries[path].mode for path in ("n", "n/m")} == {0o700}
    again = await after(lambda view: edits.new_directory(view, "ld", 0o700), found)
    assert again == found
    with pytest.raises(EngineError, match="not a directory"):
        await edits.new_directory(TreeView(LINKED), "t", 0o755)


@pytest.mark.parametrize(
    ("path", "leads_out"), [("../x", True), ("a/../../x", True), ("a/..", False), ("/../x", False)]
)
def test_a_relative_path_that_leads_out_is_known(path: str, *, leads_out: bool) -> None:
    assert edits.outside(path) is leads_out


# --- removals ---------------------------------------------------------------------------------
ODD = of("a.log", "b.log", "keep", "d/x.log", "e/f/g", "x[1]", "x1", "s*r")


@pytest.mark.parametrize(
    ("path", "gone"),
    [
        ("e", {"e", "e/f", "e/f/g"}),
        ("e/f/", {"e/f", "e/f/g"}),
        ("*.log", {"a.log", "b.log"}),
        ("d/*", {"d/x.log"}),
        ("*/*.log", {"d/x.log"}),
        ("x[1]", {"x[1]"}),  # only a star makes a pattern
        ("x?", set()),
        ("x[1*", set()),  # a malformed pattern matches nothing
        (r"s\*r", set()),  # as in Dagger: the backslash is part of the name
        ("missing/x", set()),
    ],
)
async def test_what_is_removed_is_a_name_unless_it_has_a_star(path: str, gone: set[str]) -> None:
    found = await after(lambda view: edits.remove(view, path), ODD)
    assert ODD.entries.keys() - found.entries.keys() == gone


@pytest.mark.parametrize("path", ["", ".", "/", "..", "d/.."])
async def test_the_root_is_emptied_and_stays(path: str) -> None:
    found = await after(lambda view: edits.remove(view, path), ODD)
    assert dict(found.entries) == {"": FOLDER}
    found = await after(lambda view: edits.write(view, "n", NEW), found)
    assert texts(found) == {"n": "new"}


async def test_a_removal_takes_a_link_and_not_what_it_leads_to() -> None:
    found = await after(lambda view: edits.remove(view, "ld"), LINKED)
    assert LINKED.entries.keys() - found.entries.keys() == {"ld"}
    found = await after(lambda view: edits.remove(view, "ld/in"), LINKED)
    assert LINKED.entries.keys() - found.entries.keys() == {"d/in"}


# --- owners and times -------------------------------------------------------------------------
CAPABLE = '{"security.capability": "01", "user.a": "00"}'


async def test_an_owner_reaches_everything_below_and_takes_special_rights() -> None:
    program = Entry("f", 0o6755, content="x", xattrs=CAPABLE)
    tree = of("d/f", "other", **{"d/program": program, "d/l": link("f")})
    found = await after(lambda view: edits.chown(view, "d", (3, 4)), tree)
    changed = {p for p in found.entries if found.entries[p][2:4] == (3, 4)}
    assert changed == {"d", "d/f", "d/program", "d/l"}
    assert found.entries["d/program"].mode == 0o755
    assert found.entries["d/program"].xattrs == '{"user.a": "00"}'


async def test_times_reach_what_links_lead_to_and_no_link() -> None:
    tree = of("d/f", "target", **{"d/l": link("../target")})
    found = await after(lambda view: edits.set_times(view, "d", 5), tree)
    dated = {path for path, entry in found.entries.items() if entry.mtime == 5}
    assert dated == {"d", "d/f", "target"}
    assert all(found.entries[path].dated for path in dated)


@pytest.mark.parametrize("target", ["missing", "/f", "../../out", "l"])
async def test_a_link_that_leads_nowhere_has_no_time_to_set(target: str) -> None:
    tree = of("f", l=link(target))
    with pytest.raises(EngineError, match=r"no such file|too many levels"):
        await edits.set_times(TreeView(tree), "", 5)
    assert tree.entries["l"].kind == LINK


async def test_equal_edits_in_another_order_leave_other_files() -> None:
    texts_written = []
    for order in (("one", "two", "one"), ("one", "one", "two")):
        tree = Tree()
        for text in order:
            each = file(text)
            tree = await after(lambda view, each=each: edits.write(view, "f", each), tree)  # type: ignore[misc]
        texts_written.append(tree.entries["f"].content)
    assert texts_written == ["one", "two"]
