"""The cache: shared by sessions, shown, pruned without taking what anybody uses."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import dagger
import docker
import pytest

from ci import engine
from ci.engine import prune
from ci.engine.docker.docker_api import Daemon
from ci.engine.prune import PrunePolicy, PruneResult
from ci.engine.store.cache import Store
from tests.engine.behaviours import Lab
from tests.engine.conftest import INSTANCE, Open

pytestmark = pytest.mark.docker
FRESH = os.urandom(4).hex()
EVERYTHING = PrunePolicy(everything=True)


@pytest.fixture
async def own(lab: Lab, tmp_path: Path) -> engine.Options:
    """A cache of one test alone, and a program that needs no image: the dynamic loader."""
    await lab.base.file("/lib64/ld-linux-x86-64.so.2").export(str(tmp_path / "ld"))
    labels = {"acso.instance": f"{INSTANCE}-cache"}  # a prune takes all images with these
    return replace(lab.options, cache_dir=tmp_path / "cache", images={}, labels=labels)


def loader(lab: Lab, own: engine.Options) -> dagger.Container:
    """A container whose layers nobody else has, so that pruning them takes nothing from others."""
    program = lab.dag.host().file(str(own.cache_dir.parent / "ld"))
    root = lab.files(f"only-{FRESH}").with_file("bin/ld", program, permissions=0o755)
    c = lab.dag.container().with_rootfs(root).with_env_variable("PATH", "/bin")
    return c.with_mounted_cache("/c", lab.dag.cache_volume(f"{INSTANCE}-{FRESH}"))


def said(c: dagger.Container, flag: str) -> dagger.Container:
    return c.with_exec(["/bin/ld", flag])


@asynccontextmanager
async def opened(own: engine.Options) -> AsyncIterator[tuple[Store, Daemon]]:
    store = Store(own.cache_dir)
    try:
        yield store, await anyio.to_thread.run_sync(Daemon, own.docker, own.labels)
    finally:
        store.close()


async def pruned(
    own: engine.Options, policy: PrunePolicy, *, exclusive: bool = True
) -> PruneResult:
    async with opened(own) as (store, daemon):
        return await prune.prune(store, daemon, policy, exclusive=exclusive)


def volumes(client: docker.DockerClient) -> list[str]:
    found = client.volumes.list(filters={"label": f"acso.engine.cache={INSTANCE}-{FRESH}"})
    return [each.name for each in found]


async def test_a_session_keeps_what_it_used_and_a_prune_takes_the_rest(
    own: engine.Options, session: Open, client: docker.DockerClient
) -> None:
    names = _names(client)
    async with session(own) as mine:
        help_ = await said(loader(mine, own), "--help").sync()
        assert "program interpreter" in await help_.stdout()
        gone = await pruned(own, EVERYTHING)
        assert (gone.results, gone.images, gone.volumes) == (0, 0, 0)
        assert await help_.file("/bin/ld").size() > 1000
        assert await said(help_, "--version").stdout()
        assert mine.ran("ld --help") == 1
        used = await prune.cache_usage(own)
        assert used.sessions == 1
    assert volumes(client)
    async with opened(own) as (store, _):
        held = len(store.results())
    apart = await pruned(own, EVERYTHING, exclusive=False)
    assert (apart.images, apart.volumes) == (0, 0)
    assert apart.results < held
    gone = await pruned(own, EVERYTHING)
    assert apart.results + gone.results == held
    assert gone.images >= 2
    assert not volumes(client)
    assert not _names(client) - names
    assert not [path for path in (own.cache_dir / "blobs").rglob("*") if path.is_file()]
    async with session(own) as mine:
        assert await said(loader(mine, own), "--help").stdout()
        assert mine.ran("ld --help") == 1
    await pruned(own, EVERYTHING)


def _names(client: docker.DockerClient) -> set[str]:
    """Return the names of images of this file's tests: others may make some meanwhile."""
    found = client.images.list(filters={"label": f"acso.instance={INSTANCE}-cache"})
    return {tag for image in found for tag in image.tags}


async def test_a_session_with_another_cache_is_noticed(lab: Lab, own: engine.Options) -> None:
    await lab.sh(f"echo there {FRESH}").sync()  # has a container from now on
    async with opened(own) as (store, daemon):
        assert not await prune.has_exclusive_use(store, daemon)


async def test_what_is_unused_the_longest_goes_first(own: engine.Options, session: Open) -> None:
    async with session(own) as mine:
        c = loader(mine, own)
        await said(c, "--help").sync()
    async with session(own) as mine:
        await said(loader(mine, own), "--version").sync()
        used = await prune.cache_usage(own)
        assert used.results[0] > 2
        gone = await pruned(own, PrunePolicy(keep=0))
        assert gone.results > 0  # of the first session, not of this one
        assert await said(loader(mine, own), "--version").stdout()
        assert mine.ran("ld --version") == 1
    await pruned(own, EVERYTHING)


# --- sessions -----------------------------------------------------------------------------------
async def test_an_id_outlives_the_query_and_the_session(lab: Lab, session: Open) -> None:
    made = lab.sh(f"echo lasting {FRESH} > /made", lab.base.with_env_variable("A", "1"))
    await made.sync()
    ids = [await made.id(), await made.directory("/").id(), await made.file("/made").id()]
    async with session(lab.options) as other:
        c = other.dag.load_container_from_id(dagger.ContainerID(ids[0]))
        assert await other.sh("cat /made; echo $A", c).stdout() == f"lasting {FRESH}\n1\n"
        d = other.dag.load_directory_from_id(dagger.DirectoryID(ids[1]))
        assert await d.file("made").contents() == f"lasting {FRESH}\n"
        assert await other.dag.load_file_from_id(dagger.FileID(ids[2])).name() == "made"
        assert other.ran(f"echo lasting {FRESH}") == 0


async def test_the_same_step_asked_for_at_once_runs_once(lab: Lab) -> None:
    answers = []

    async def ask() -> None:
        answers.append(await lab.sh(f"sleep 0.2; echo once {FRESH}; date +%s%N").stdout())

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(ask)
    assert len(set(answers)) == 1
    assert lab.ran(f"echo once {FRESH}") == 1


async def test_a_changed_input_reruns_exactly_what_depends_on_it(lab: Lab) -> None:
    def chain(text: str) -> dagger.Container:
        first = lab.sh(f"echo first {FRESH}")
        second = lab.sh(f"echo second {FRESH}", first.with_new_file("/in", text))
        return lab.sh(f"echo third {FRESH}", second)

    for text in ("a", "b", "a"):
        await chain(text).sync()
    steps = [lab.ran(f"echo {name} {FRESH}") for name in ("first", "second", "third")]
    assert steps == [1, 2, 2]


async def test_many_queries_at_once_are_answered_each_with_its_own(lab: Lab) -> None:
    answers: dict[int, str] = {}

    async def ask(number: int) -> None:
        d = lab.dag.directory().with_new_file(f"deep/{number}", str(number))
        answers[number] = await d.file(f"deep/{number}").contents()

    async with anyio.create_task_group() as group:
        for number in range(60):
            group.start_soon(ask, number)
    assert answers == {number: str(number) for number in range(60)}
