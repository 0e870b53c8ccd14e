"""This host's files: into the engine, only what changed; out of it, only where they belong."""

import os
import stat
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import dagger
import pytest

from ci.engine.sources.host_files import RACY
from tests.engine.behaviours import Behaviours, Lab, Shows

pytestmark = pytest.mark.docker
behaviour = Behaviours()


@pytest.fixture
def folder(lab: Lab, tmp_path: Path) -> Path:
    lab.extra["folder"] = tmp_path
    return tmp_path


def tree_of(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def folder_of(lab: Lab) -> Path:
    found = lab.extra["folder"]
    assert isinstance(found, Path)
    return found


@behaviour([[".hidden", "a/", "a/x.py"], "1"])
async def a_directory_is_read_without_what_is_excluded(lab: Lab) -> Any:
    root = folder_of(lab)
    (root / "a").mkdir()
    for name, text in {"a/x.py": "1", "a/y.txt": "2", ".hidden": "3"}.items():
        (root / name).write_text(text)
    d = lab.dag.host().directory(str(root), exclude=["**/*.txt"])
    return [sorted(await d.glob("**/*")), await d.file("a/x.py").contents()]


@behaviour("hf")
async def a_file_is_read(lab: Lab) -> Any:
    (folder_of(lab) / "f").write_text("hf")
    return await lab.dag.host().file(f"{folder_of(lab)}/f").contents()


@behaviour([["n", "n/f", "old"], "755"])
async def a_directory_is_written_beside_what_is_there(lab: Lab) -> Any:
    root = folder_of(lab)
    (root / "old").write_text("o")
    await lab.dag.directory().with_new_file("n/f", "1", permissions=0o755).export(str(root))
    return [tree_of(root), f"{stat.S_IMODE((root / 'n/f').stat().st_mode):o}"]


@behaviour("data")
async def a_file_is_written(lab: Lab) -> Any:
    target = anyio.Path(folder_of(lab) / "g")
    await lab.dag.directory().with_new_file("f", "data").file("f").export(str(target))
    return await target.read_text()


@behaviour.cases()
@pytest.mark.usefixtures("folder")
async def test_behaviour(lab: Lab, shows: Shows, answer: Any) -> None:
    """Expect the answers of a Dagger engine v0.21.8 (recorder: tests/engine/behaviours.py)."""
    assert await shows(lab) == answer


# --- beyond the recorded behaviours ------------------------------------------------------------
async def test_an_export_can_wipe_what_was_there(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old/f").write_text("o")
    await lab.files("new").export(str(tmp_path), wipe=True)
    assert tree_of(tmp_path) == ["new"]


async def test_an_export_follows_no_link_out_of_its_folder(lab: Lab, tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (inside / "way").symlink_to(outside)
    d = lab.dag.directory().with_new_file("way/f", "x")
    await d.export(str(inside))  # the directory takes the link's place
    assert not list(outside.iterdir())
    d = lab.dag.directory().with_symlink(str(outside), "out").with_directory("x", lab.files("f"))
    await d.export(str(inside))
    assert (inside / "out").readlink() == outside
    assert not list(outside.iterdir())


async def test_a_source_is_read_once_a_session_unless_told_otherwise(
    lab: Lab, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text("1")
    host = lab.dag.host()
    assert await host.directory(str(tmp_path)).file("f").contents() == "1"
    (tmp_path / "f").write_text("2")
    assert await host.directory(str(tmp_path)).file("f").contents() == "1"
    assert await host.directory(str(tmp_path), no_cache=True).file("f").contents() == "2"
    (tmp_path / "f").write_text("3")
    assert await host.directory(str(tmp_path), no_cache=True).file("f").contents() == "3"


async def test_what_is_not_there_is_said_with_its_path(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(dagger.QueryError, match=r"/nope: no such directory on this host"):
        await lab.dag.host().directory(str(tmp_path / "nope")).entries()
    with pytest.raises(dagger.QueryError, match=r"/nope: no such file on this host"):
        await lab.dag.host().file(str(tmp_path / "nope")).contents()


async def test_a_name_is_found_upwards_by_its_relative_path(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "wanted.toml").touch()
    monkeypatch.chdir(tmp_path / "a/b")
    assert await lab.dag.host().find_up("wanted.toml") == "../../wanted.toml"
    assert await lab.dag.host().find_up(f"not-{tmp_path.name}") is None


GITIGNORES: dict[str, tuple[dict[str, str], list[str]]] = {
    "an allow list": (
        {".gitignore": "*\n!*/\n!*.md\n", "docs/a.md": "", "docs/a.bin": "", "b.md": "", "c": ""},
        ["b.md", "docs/a.md"],
    ),
    "nothing below an ignored directory is taken back": (
        {".gitignore": "out/\n!out/keep\n", "out/keep": "", "out/x": "", "a": ""},
        [".gitignore", "a"],
    ),
    "a directory taken back without its ignored files": (
        {".gitignore": "*.o\n!lib/\n", "lib/x.o": "", "lib/x.c": "", "y.o": ""},
        [".gitignore", "lib/x.c"],
    ),
    "a byte order mark and CRLF": (
        {".gitignore": "\ufeff*.tmp\r\n*.bak\r\n", "a.tmp": "", "a.bak": "", "k": ""},
        [".gitignore", "k"],
    ),
    "brackets in the name of a folder": (
        {"[slug]/.gitignore": "*.tmp\n", "[slug]/a.tmp": "", "[slug]/b": ""},
        ["[slug]/.gitignore", "[slug]/b"],
    ),
    "the inner file decides": (
        {".gitignore": "*.log\n", "(a)/.gitignore": "!s.log\n", "(a)/s.log": "", "(a)/x.log": ""},
        ["(a)/.gitignore", "(a)/s.log", ".gitignore"],
    ),
    "bytes that are not UTF-8": (
        {".gitignore": "# d\udce9j\udce0 vu\n*.tmp\n", "a.tmp": "", "k": ""},
        [".gitignore", "k"],
    ),
    "a range that runs backwards": (
        {".gitignore": "[Old-copy] *\n*.tmp\n", "a.tmp": "", "k": ""},
        [".gitignore", "k"],
    ),
}


@pytest.mark.parametrize("name", GITIGNORES)
async def test_gitignore_is_read_as_git_does_both_ways_in(
    lab: Lab, tmp_path: Path, name: str
) -> None:
    files, kept = GITIGNORES[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, errors="surrogateescape", newline="")
    host = lab.dag.host().directory(str(tmp_path), gitignore=True)
    filtered = lab.dag.host().directory(str(tmp_path)).filter(gitignore=True)
    for found in (host, filtered):
        assert [path for path in await found.glob("**") if path[-1] != "/"] == kept


async def test_rules_above_a_directory_count_in_its_repository(lab: Lab, tmp_path: Path) -> None:
    for path in ("r/sub/deep/a.log", "r/sub/deep/b", "r/sub/c.tmp", "r/out/x"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / ".gitignore").write_text("*\n")  # outside the repository
    (tmp_path / "r/.gitignore").write_text("*.log\n/out\n/sub/*.tmp\n")

    async def found(path: str) -> list[str]:
        directory = lab.dag.host().directory(str(tmp_path / path), gitignore=True, no_cache=True)
        return [path for path in await directory.glob("**") if path[-1] != "/"]

    assert await found("r/sub") == ["c.tmp", "deep/a.log", "deep/b"]
    (tmp_path / "r/.git").mkdir()
    assert await found("r/sub") == ["deep/b"]
    assert await found("r/sub/deep") == ["b"]
    with pytest.raises(dagger.QueryError, match="out: no such file or directory"):
        await found("r/out")


def old_file(path: bytes) -> None:
    """Create a file and wait until it is so old that what is read of it is remembered."""
    Path(os.fsdecode(path)).write_text("x")
    while time.time() - os.stat(path).st_ctime <= RACY:  # noqa: PTH116 (a name of bytes)
        time.sleep(0.02)


async def test_a_name_that_is_not_utf8_is_read_and_remembered(lab: Lab, tmp_path: Path) -> None:
    await anyio.to_thread.run_sync(old_file, os.fsencode(tmp_path) + b"/caf\xe9")
    c = lab.base.with_mounted_directory("/q", lab.dag.host().directory(str(tmp_path)))
    script = "import os; print(os.listdir(b'/q'))"
    assert await c.with_exec(["python3", "-c", script]).stdout() == "[b'caf\\xe9']\n"


async def test_a_bad_pattern_is_named(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(dagger.QueryError, match=r"pattern '\[b-a\]'.*runs backwards"):
        await lab.dag.host().directory(str(tmp_path), exclude=["[b-a]"]).entries()
