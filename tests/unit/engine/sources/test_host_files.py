import os
import shutil
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from ci.engine.sources import host_files
from ci.engine.store import patterns
from ci.engine.store.cache import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    for name in ("a.py", "a.txt", ".git/config", "src/b.py", "src/deep/c.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "link").symlink_to("a.py")
    (root / "src/b.py").chmod(0o750)
    return root


def settled(root: Path) -> None:
    """Wait until no file is so young that another change could go unseen."""
    youngest = max(path.lstat().st_ctime for path in root.rglob("*"))
    while time.time() - youngest <= host_files.RACY:
        time.sleep(0.02)


def test_what_is_read_is_what_is_there(store: Store, source: Path) -> None:
    tree = host_files.upload(store, source, exclude=["**/*.txt", ".git"])
    names = ["", "a.py", "link", "src", "src/b.py", "src/deep", "src/deep/c.py"]
    assert sorted(tree.entries) == names
    assert tree.entries["src/b.py"].mode == 0o750
    assert tree.entries["link"].content == "a.py"
    assert store.read(tree.entries["src/deep/c.py"].content) == b"src/deep/c.py"


def test_a_file_that_did_not_change_is_not_read_again(
    store: Store, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(source)
    first = host_files.upload(store, source)
    (source / "a.py").write_text("changed")
    read: list[str] = []
    monkeypatch.setattr(store, "add", _spied(store, read))
    second = host_files.upload(store, source)
    assert [Path(name).name for name in read] == ["a.py"]
    assert {p for p in first.entries if first.entries[p].content != second.entries[p].content} == {
        "a.py"
    }


def _spied(store: Store, read: list[str]) -> object:
    original = store.add

    def add(file: Any) -> tuple[str, int]:
        read.append(file.name)
        return original(file)

    return add


def test_a_file_as_young_as_its_reading_is_read_again(store: Store, source: Path) -> None:
    (source / "a.py").write_text("one")
    host_files.upload(store, source)
    stamp = (source / "a.py").stat()
    (source / "a.py").write_text("two")  # the same size, within the same tick for all we know
    assert store.read(host_files.upload(store, source).entries["a.py"].content) == b"two"
    assert stamp.st_size == 3


def test_a_content_that_the_store_lost_is_read_again(store: Store, source: Path) -> None:
    settled(source)
    content = host_files.upload(store, source).entries["a.py"].content
    store.path(content).unlink()
    host_files.upload(store, source)
    assert store.has(content)


def test_gitignored_files_are_not_even_walked(store: Store, source: Path) -> None:
    (source / ".gitignore").write_text("src/deep/\n*.txt\n")
    tree = host_files.upload(store, source, exclude=[".git"], gitignore=True)
    assert sorted(tree.entries) == ["", ".gitignore", "a.py", "link", "src", "src/b.py"]


def test_the_key_of_secrets_is_its_owners_alone(store: Store) -> None:
    assert stat.S_IMODE((store.root / "key").stat().st_mode) == 0o600
    again = Store(store.root)
    assert (
        again.hash_secret(b"value")
        == store.hash_secret(b"value")
        != Store(store.root / "x").hash_secret(b"value")
    )


def test_what_vanishes_while_it_is_read_is_left_out(
    store: Store, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    select = patterns.select

    def vanishing(*args: Any) -> set[str]:
        (source / "a.py").unlink()
        shutil.rmtree(source / "src/deep")
        return select(*args)

    monkeypatch.setattr(patterns, "select", vanishing)
    tree = host_files.upload(store, source, exclude=[".git"])
    assert "a.py" not in tree.entries
    assert "src/deep/c.py" not in tree.entries
    assert "src/b.py" in tree.entries


def test_a_file_that_grows_has_the_size_that_it_had(
    store: Store, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = store.add

    def growing(file: Any) -> tuple[str, int]:
        with Path(file.name).open("ab") as grown:
            grown.write(b" and more")
        return add(file)

    monkeypatch.setattr(store, "add", growing)
    entry = host_files.upload(store, source).entries["a.py"]
    assert (store.read(entry.content), entry.size) == (b"a.py", 4)
    monkeypatch.undo()
    entry = host_files.upload(store, source).entries["a.py"]  # and it is not remembered so
    assert store.read(entry.content) == b"a.py and more"


def test_names_of_one_file_and_attributes_are_read(store: Store, source: Path) -> None:
    (source / "b.py").hardlink_to(source / "a.py")
    os.setxattr(source / "a.txt", "user.note", b"hi")
    entries = host_files.upload(store, source).entries
    assert entries["a.py"].inode == entries["b.py"].inode != ""
    assert entries["a.txt"].xattrs == '{"user.note": "6869"}'
    assert entries["link"].size == len("a.py")
