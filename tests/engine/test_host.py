"""This host's files: into the engine, only what changed; out of it, only where they belong."""

import stat
from pathlib import Path
from typing import Any

import anyio
import dagger
import pytest

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
