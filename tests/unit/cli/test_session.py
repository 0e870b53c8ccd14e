"""What a call prepares on this machine before it opens an engine session."""

import dataclasses
import getpass
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ci.cli import checkout, session
from ci.cli.session import RunOptions
from ci.cli.signatures import Function
from ci.config import FILE, load
from ci.local import base_image, container_engine, paths

CONFIG = load(Path(__file__).parents[2] / FILE)
ROOT = Path(__file__).parents[3]


def test_without_git_and_without_a_name_there_is_still_a_source_and_an_actor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nobody() -> str:
        raise KeyError

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(getpass, "getuser", nobody)
    expected = {"commit": "", "branch": "", "dirty": False, "actor": str(os.getuid())}
    assert checkout.state(ROOT) == expected


async def test_the_base_image_of_acso_toml_is_the_one_that_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = dataclasses.replace(CONFIG.project, base_image="registry.example/python:3.13")
    config = dataclasses.replace(CONFIG, project=project)
    mapped: list[Mapping[str, str]] = []

    async def ensure_engine(_: Callable[[str], None]) -> object:
        return SimpleNamespace(url="unix:///nowhere")

    async def ensure_image(_: object, __: Callable[[str], None], *, name: str) -> object:
        return SimpleNamespace(reference=f"{name}@sha256:1")

    @asynccontextmanager
    async def engine_session(
        _: object, images: Mapping[str, str], **__: Any
    ) -> AsyncIterator[None]:
        mapped.append(dict(images))
        yield

    monkeypatch.delenv("DAGGER_SESSION_PORT", raising=False)
    monkeypatch.setattr(container_engine, "ensure", ensure_engine)
    monkeypatch.setattr(base_image, "ensure", ensure_image)
    monkeypatch.setattr(session, "engine_session", engine_session)
    check = Function(name="check", doc="", parameters=())
    async with session._prepare(check, {}, config, RunOptions()):
        pass
    name = "registry.example/python:3.13"
    assert mapped == [{name: f"{name}@sha256:1"}]


def test_the_log_of_the_engine_is_bounded_within_a_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "state_dir", lambda: tmp_path)
    monkeypatch.setattr(session, "LOG_SIZE", 1000)
    write = session._log(verbose=False)
    for number in range(100):
        write(f"line {number} {'x' * 90}")
    sizes = {each.name: each.stat().st_size for each in tmp_path.iterdir()}
    assert set(sizes) == {"engine.log", "engine.log.1"}
    assert max(sizes.values()) < 1200
    last = (tmp_path / "engine.log.1").read_text() + (tmp_path / "engine.log").read_text()
    assert last.splitlines()[-1].startswith("line 99 ")
