"""The cache directory: whole or not at all, whatever happens in the middle."""

import io
import os
import sqlite3
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from ci.common import locks
from ci.engine.errors import CacheError
from ci.engine.store import archive
from ci.engine.store.cache import ABANDONED, Store
from ci.engine.store.tree import FILE, FOLDER, Entry, Tree


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


def test_a_content_that_broke_off_is_not_there(store: Store) -> None:
    def broken() -> None:
        with store.writer() as (file, done):
            file.write(b"half")
            raise ConnectionError(done)

    with pytest.raises(ConnectionError):
        broken()
    assert not [path for path in (store.root / "blobs").rglob("*") if path.is_file()]
    assert not list((store.root / "tmp").iterdir())


def test_what_cannot_be_written_is_told_with_its_place(store: Store) -> None:
    (store.root / "tmp").rmdir()
    with pytest.raises(CacheError, match=f"cache {store.root} cannot be used: No such file"):
        store.add_bytes(b"x")


def test_a_failed_transaction_does_not_swallow_what_comes_later(store: Store) -> None:
    with pytest.raises(CacheError):
        store.remember_files([("/a", "1", "x"), ("/b", "1", object())])  # type: ignore[list-item]
    store.set("key", 1)
    store.remember_files([("/c", "1", "x")])
    with sqlite3.connect(store.root / "index.sqlite") as other:
        assert other.execute("select key from steps").fetchall() == [("key",)]
        assert other.execute("select path from seen").fetchall() == [("/c",)]
    other.close()


def test_processes_that_begin_at_once_agree_on_the_key(tmp_path: Path) -> None:
    found: list[str] = []

    def begin() -> None:
        store = Store(tmp_path)
        found.append(store.hash_secret(b"secret"))
        store.close()

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_half_a_key_is_an_error_and_not_a_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"")
    with pytest.raises(CacheError, match="key is damaged; remove the file"):
        Store(tmp_path)


def test_what_a_killed_process_was_writing_goes_after_a_day(tmp_path: Path) -> None:
    Store(tmp_path).close()
    old, new = tmp_path / "tmp" / "old", tmp_path / "tmp" / "new"
    for path in (old, new):
        path.write_text("")
    clone = tmp_path / "tmp" / "clone"
    clone.mkdir()
    (clone / "file").write_text("")
    for path in (old, clone):
        os.utime(path, times=(0, time.time() - ABANDONED - 60))
    Store(tmp_path).close()
    assert [path.name for path in (tmp_path / "tmp").iterdir()] == ["new"]


async def test_one_at_a_time_holds_a_key_and_leaves_no_file(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path)
    inside: list[int] = []

    async def hold(which: Store) -> None:
        async with locks.held(which.root / "locks" / "key", keep=False):
            inside.append(1)
            await anyio.sleep(0.01)
            assert len(inside) == 1
            inside.pop()

    async with anyio.create_task_group() as group:
        for which in (store, other, store, other):
            group.start_soon(hold, which)
    assert not list((tmp_path / "locks").iterdir())
    other.close()


def test_the_ends_of_a_content_are_read_without_its_middle(store: Store) -> None:
    digest = store.add_bytes(b"begin" + bytes(1000) + b"end")
    assert store.head_and_tail(digest, first=5, last=3) == (b"begin", b"end", 1008)
    assert store.head_and_tail(digest, first=5000, last=5000)[1:] == (store.read(digest), 1008)


@pytest.mark.parametrize("cut", [512, 1024, 1536, 2048, 2560])
def test_an_archive_that_was_cut_off_is_not_taken_for_a_smaller_one(store: Store, cut: int) -> None:
    content = store.add_bytes(b"x" * 600)
    file = Entry(FILE, 0o644, size=600, content=content)
    tree = Tree({"": FOLDER, "a": file, "b": file})
    whole = b"".join(archive.send(store, [("d", tree)]))
    assert archive.receive(store, [whole[:700], whole[700:]]).entries.keys() == {"", "a", "b"}
    with pytest.raises(tarfile.TarError):
        archive.receive(store, [whole[:cut]])


def test_an_archive_of_another_program_has_its_end_too(store: Store) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("d/f"))
    data = made.getvalue()
    parts = [data[at : at + 100] for at in range(0, len(data), 100)]
    assert list(archive.receive(store, parts).entries) == ["f"]


def test_a_content_that_lost_its_end_is_written_again(store: Store) -> None:
    digest = store.add_bytes(b"whole")
    store.path(digest).write_bytes(b"wh")
    assert not store.touch(digest, 5)
    assert store.add_bytes(b"whole") == digest
    assert store.read(digest) == b"whole"


def test_a_tree_with_a_file_that_lost_its_end_is_not_used(store: Store) -> None:
    content = store.add_bytes(b"whole")
    tree = Tree({"": FOLDER, "f": Entry(FILE, 0o644, size=5, content=content)})
    digest = store.save(tree)
    store.set("key", digest)
    assert store.get_tree("key") == tree
    store.path(content).write_bytes(b"")
    with pytest.raises(CacheError, match="is not complete"):
        store.load(digest)
    assert store.get_tree("key") is None
    store.path(content).unlink()
    assert store.get_tree("key") is None


def test_results_reach_the_disk_before_their_names(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        calls.append("fsync")
        fsync(descriptor)

    def replaced(path: Path, target: Path) -> Path:
        calls.append("replace")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    store.write([b"stream"])
    store.save(Tree({"": FOLDER}))
    store.replace(store.root / "file", b"data")
    assert calls == ["fsync", "replace"] * 3
