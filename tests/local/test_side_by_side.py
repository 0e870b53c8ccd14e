"""Two users of one container engine: what one of them does leaves the other's things alone.

Both have the default name of an instance, and folders of state and caches of their own.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import dagger
import pytest

from ci.cli.session import engine_options
from ci.config import machine
from ci.engine import Options, prune, serve
from ci.engine.store.cache import Store
from ci.local import base_image, embedded_aws, leftovers, paths, stack
from ci.local.container_engine import Docker
from ci.local.wait import blocking
from tests.local.aws import Aws

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("apart")]
#: A base image that cannot be pulled: nothing listens on port 1.
NAME = "localhost:1/python:3.11-slim"
#: The user and group that own nothing.
NOBODY = 65534
EVERYTHING = prune.PrunePolicy(everything=True)


@dataclass(frozen=True, kw_only=True)
class User:
    """A user, with folders of their own."""

    home: Path
    docker: Docker

    @contextmanager
    def acts(self) -> Iterator[None]:
        """Let this process act for the user inside the block."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_STATE_HOME", str(self.home / "state"))
            patch.setenv("XDG_CACHE_HOME", str(self.home / "cache"))
            yield

    @asynccontextmanager
    async def session(self, image: str) -> AsyncIterator[Options]:
        """Run a step in a session of the local engine that stays open inside the block."""
        with self.acts():
            options = engine_options(self.docker, {NAME: image}, lambda _line: None)
        async with serve(options) as session:
            with pytest.MonkeyPatch.context() as patch:
                for name, value in session.environ().items():
                    patch.setenv(name, value)
                connection = dagger.Connection(dagger.Config(log_output=None))
                client = await connection.__aenter__()
            try:
                step = client.container().from_(NAME).with_exec(["touch", "/side-by-side"])
                assert await step.file("/side-by-side").size() == 0
                yield options
            finally:
                await connection.close()  # type: ignore[no-untyped-call]

    def tags(self, options: Options) -> set[str]:
        """Return the tags of the images that the user's cache has in the container engine."""
        store = Store(options.cache_dir)
        try:
            found = self.docker.client.images.list("acso-engine")
            return {tag for item in found for tag in item.tags if f":{store.identity}-" in tag}
        finally:
            store.close()


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What belongs to a user."""

    containers: frozenset[str]
    tags: frozenset[str]
    base: base_image.BaseImage | None
    clusters: tuple[str, ...]
    repositories: tuple[str, ...]


async def seen(user: User, aws: Aws, options: Options) -> Seen:
    """Look at what belongs to a user."""
    with user.acts():
        own: dict[str, Any] = {"label": f"{paths.STATE_LABEL}={paths.state_id()}"}
        running = user.docker.client.containers.list(filters=own, ignore_removed=True)
        return Seen(
            containers=frozenset(str(item.name) for item in running),
            tags=frozenset(user.tags(options)),
            base=await base_image.current(user.docker, NAME),
            clusters=tuple(aws.client("ecs").list_clusters()["clusterArns"]),
            repositories=tuple(
                item["repositoryName"]
                for item in aws.client("ecr").describe_repositories()["repositories"]
            ),
        )


async def started(user: User) -> tuple[Aws, base_image.BaseImage]:
    """Start a user's embedded AWS; run a task and create a repository there."""
    with user.acts():
        image = await base_image.ensure(user.docker, print, name=NAME)
        running = await embedded_aws.ensure(user.docker, print)
        aws = Aws(emulator=running, docker=user.docker, image=image.reference)
        task = await anyio.to_thread.run_sync(lambda: aws.run(aws.definition({"VERSION": "one"})))
        await anyio.to_thread.run_sync(aws.container, task)
        await anyio.to_thread.run_sync(aws.push, f"{running.registry}/side-by-side")
        return aws, image


async def killed_and_started(user: User) -> None:
    """Kill a user's embedded AWS and start it again, which removes what the dead one left."""
    with user.acts():
        found = await embedded_aws.find()
        assert found is not None
        os.kill(found.process.pid, signal.SIGKILL)
        assert blocking(lambda: not found.process.alive(), seconds=5)
        await embedded_aws.ensure(user.docker, print)


@pytest.mark.matrix  # 40 s: tasks and servers start and end several times
async def test_each_command_of_one_user_leaves_the_other_s_things_alone(
    engine: Docker, tmp_path: Path
) -> None:
    one = User(home=tmp_path / "one", docker=engine)
    two = User(home=tmp_path / "two", docker=engine)
    aws, image = await started(one)
    try:
        async with one.session(image.reference) as options:
            before = await seen(one, aws, options)
            assert len(before.containers) == 2  # the task, and the step's container
            assert before.tags
            other, same = await started(two)
            assert same == image
            assert other.emulator.port != aws.emulator.port
            async with two.session(image.reference) as others:
                assert two.tags(others).isdisjoint(before.tags)
                assert await seen(one, aws, options) == before
            await prune.prune_cache(others, EVERYTHING)
            await killed_and_started(two)
            assert await seen(one, aws, options) == before
            await down(two, cache=True)
            assert await seen(one, aws, options) == before
        # Without a running session, a prune removes images.
        await started(two)
        async with two.session(image.reference) as others:
            pass
        assert two.tags(others)
        await prune.prune_cache(others, EVERYTHING)
        assert not two.tags(others)
        await down(two, cache=True)
        after = await seen(one, aws, options)
        assert (after.tags, after.base) == (before.tags, before.base)
        assert len(after.containers) == 1  # the task; the session has ended
    finally:
        await down(two, cache=True)
        await down(one, cache=True)
    assert not await anyio.to_thread.run_sync(names, engine)


def names(docker: Docker) -> list[str]:
    """Return the names of this instance's containers, whoever's they are."""
    return [
        str(item.name)
        for item in docker.client.containers.list(all=True, filters=mine(), ignore_removed=True)
    ]


async def down(user: User, *, cache: bool) -> None:
    """Remove a user's stack."""
    with user.acts():
        await stack.down(print, cache=cache)


async def test_down_leaves_the_containers_of_a_command_that_still_runs(
    engine: Docker, tmp_path: Path
) -> None:
    user = User(home=tmp_path, docker=engine)
    aws, image = await started(user)
    printed: list[str] = []
    async with user.session(image.reference) as options:
        with user.acts():
            await stack.down(printed.append, cache=False)
        assert not aws.emulator.process.alive()
        left = engine.client.containers.list(all=True, filters=mine(), ignore_removed=True)
        assert left
        assert all(leftovers.SESSION_LABEL in item.labels for item in left)
        assert "containers of running commands are kept (1 of this instance)" in printed
        assert user.tags(options)
    await down(user, cache=True)


#: Starts a stack and prints its port and the digest of its base image, or removes it.
OTHER = """
import anyio, sys
from ci.local import stack

async def main():
    if sys.argv[1] == "down":
        print(await stack.down(lambda line: None, cache=True))
        return
    running = await stack.up(lambda line: None, base=sys.argv[2])
    print(running.emulator.port, running.base.digest)

anyio.run(main)
"""


def other_user(home: Path) -> tuple[str, ...]:
    """Return how a Python of an ordinary user begins, who may use the container engine.

    It is the same user if this one is not root, or if others may not read Python and this checkout.
    """
    if os.geteuid() != 0:
        return (sys.executable,)
    os.chown(home, NOBODY, NOBODY)
    group = Path("/var/run/docker.sock").stat().st_gid
    python = str(home / "venv" / "bin" / "python")
    # `env`, because setpriv itself may still execute what only root may.
    ids = (f"--reuid={NOBODY}", f"--regid={NOBODY}", f"--groups={group}")
    user = ("setpriv", *ids, "env", python)
    for found in (Path(sys.executable).resolve(), Path("/usr/bin/python3")):
        environment(home / "venv", found)
        if runs([*user, "-c", "import docker, ministack, ci.local.stack"]).returncode == 0:
            return user
    return (sys.executable,)


def environment(folder: Path, python: Path) -> None:
    """Make a virtual environment of a Python with this one's packages."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(python)
    (folder / "pyvenv.cfg").write_text(f"home = {python.parent}\n")
    (folder / "lib").symlink_to(Path(sys.prefix) / "lib")


def runs(command: list[str], **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run a command with this Python's packages."""
    return subprocess.run(
        command,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(stack.__file__).parents[2]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "ACSO_INSTANCE": machine.instance(),
            **environ,
        },
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        umask=0o077,
    )


async def test_an_ordinary_user_uses_the_base_image_and_removes_only_what_is_theirs(
    engine: Docker, tmp_path: Path
) -> None:
    user = User(home=tmp_path, docker=engine)
    aws, image = await started(user)
    try:
        # Not below tmp_path: only its owner may look into that.
        with tempfile.TemporaryDirectory() as home:
            other = other_user(Path(home))
            up = runs([*other, "-c", OTHER, "up", NAME], HOME=home)
            assert up.returncode == 0, up.stderr
            port, digest = up.stdout.split()
            assert digest == image.digest
            assert int(port) != aws.emulator.port
            removed = runs([*other, "-c", OTHER, "down", NAME], HOME=home)
            assert removed.returncode == 0, removed.stderr
            assert "process" in removed.stdout
        assert aws.emulator.process.alive()
        assert names(engine)
        with user.acts():
            assert await base_image.current(engine, NAME) == image
    finally:
        await down(user, cache=True)


def mine() -> dict[str, Any]:
    """Return the filter of this instance's containers, whoever's they are."""
    return {"label": f"{paths.INSTANCE_LABEL}={machine.instance()}"}
