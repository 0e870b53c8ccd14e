"""What is written into directories and files of this host."""

import os
import stat
from pathlib import Path

import pytest

from ci.engine.errors import EngineError
from ci.engine.sources import host_exports, host_files
from ci.engine.store.cache import Store
from ci.engine.store.tree import FILE, FOLDER, LINK, Entry, Tree


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def kept(store: Store, text: bytes = b"x", mode: int = 0o644) -> Entry:
    return Entry(FILE, mode, size=len(text), content=store.add_bytes(text))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_an_export_keeps_modes_and_times_and_replaces_files(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "f").write_text("old")
    (target / "other").write_text("stays")
    entry = kept(store, b"new", 0o4755)._replace(mtime=1_000_000_000)
    folder = FOLDER._replace(mode=0o750, mtime=1_000_000_001)
    tree = Tree({"": FOLDER, "f": entry, "d": folder, "d/g": kept(store)})
    assert host_exports.export(store, tree, target) == []
    assert (target / "f").read_text() == "new"
    assert (mode(target / "f"), mode(target / "d")) == (0o4755, 0o750)
    assert (target / "f").stat().st_mtime == 1_000_000_000
    assert (target / "d").stat().st_mtime == 1_000_000_001
    assert (target / "other").exists()


def test_an_export_writes_into_folders_without_write_bits(store: Store, tmp_path: Path) -> None:
    closed = FOLDER._replace(mode=0o555)
    tree = Tree({"": closed, "d": closed, "d/e": closed, "d/e/f": kept(store, mode=0o400)})
    for _ in range(2):  # the second time over what exists
        host_exports.export(store, tree, tmp_path / "target", wipe=True)
        assert mode(tmp_path / "target/d/e/f") == 0o400
        assert mode(tmp_path / "target/d") == mode(tmp_path / "target/d/e") == 0o555


def test_a_wipe_leaves_nothing_else(store: Store, tmp_path: Path) -> None:
    (tmp_path / "target/old").mkdir(parents=True)
    (tmp_path / "target/old/f").write_text("x")
    (tmp_path / "target/old").chmod(0o500)
    (tmp_path / "target/link").symlink_to(tmp_path)
    tree = Tree({"": FOLDER, "new": kept(store)})
    host_exports.export(store, tree, tmp_path / "target", wipe=True)
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["new"]


def test_a_directory_replaces_a_link_and_is_not_written_through_it(
    store: Store, tmp_path: Path
) -> None:
    target, outside = tmp_path / "target", tmp_path / "outside"
    target.mkdir()
    outside.mkdir()
    (target / "way").symlink_to(outside)
    tree = Tree({"": FOLDER, "way": FOLDER, "way/f": kept(store)})
    host_exports.export(store, tree, target)
    assert not list(outside.iterdir())
    assert (target / "way/f").read_text() == "x"


def test_a_file_does_not_replace_a_directory(store: Store, tmp_path: Path) -> None:
    (tmp_path / "target/f").mkdir(parents=True)
    with pytest.raises(EngineError, match="a directory is in the way; remove it"):
        host_exports.export(store, Tree({"": FOLDER, "f": kept(store)}), tmp_path / "target")


@pytest.mark.parametrize("path", ["../out", "a/../../out", "/tmp/out"])
def test_a_path_that_leaves_its_root_is_not_written(
    store: Store, tmp_path: Path, path: str
) -> None:
    root = tmp_path / "root"
    with pytest.raises(EngineError, match="leads out of"):
        host_exports.export(store, Tree({"": FOLDER, path: kept(store)}), root)
    assert not root.exists()


def test_names_links_pipes_and_attributes_are_written_and_read_again(
    store: Store, tmp_path: Path
) -> None:
    one = kept(store)._replace(inode="1", mtime=5)
    attributes = '{"user.note": "6869"}'
    link = Entry(LINK, 0o777, mtime=7, size=5, content="./a//")
    tree = Tree(
        {
            "": FOLDER,
            "a": one,
            "b": one,
            "link": link,
            "noted": kept(store)._replace(xattrs=attributes, mtime=6),
            "pipe": Entry("p", 0o600, mtime=5),
        }
    )
    target = tmp_path / "target"
    assert host_exports.export(store, tree, target) == []
    assert (target / "a").stat().st_nlink == 2
    again = host_files.upload(store, target)
    assert again.key == tree.key
    assert {p: e.mtime for p, e in again.entries.items() if p} == {
        p: e.mtime for p, e in tree.entries.items() if p
    }
    assert os.getxattr(target / "noted", "user.note") == b"hi"


def test_one_file_is_written_as_it_is(store: Store, tmp_path: Path) -> None:
    host_exports.export_file(store, kept(store, b"image", 0o600), tmp_path / "image.tar")
    assert mode(tmp_path / "image.tar") == 0o600
    assert (tmp_path / "image.tar").read_bytes() == b"image"
