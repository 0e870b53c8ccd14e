"""What is kept: the same key has the same result, a change reruns what depends on it alone."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import anyio
import dagger
import docker
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci import engine
from ci.engine.docker.docker_api import Daemon
from ci.engine.execution.session import Engine
from ci.engine.execution.steps import PARALLEL
from ci.engine.store.tree import FILE, Entry, Tree
from ci.engine.values import Change, Container, Edit, Exec, Files, Image, Mount
from tests.engine.behaviours import Lab
from tests.engine.conftest import OWN, Open
from tests.engine.daemons import podman_version

pytestmark = pytest.mark.docker
FRESH = os.urandom(4).hex()
Kind = Literal["argument", "variable", "stdin", "user", "workdir", "file", "mount", "expect"]
KINDS: tuple[Kind, ...] = Kind.__args__  # type: ignore[attr-defined]


# --- keys: no container runs ------------------------------------------------------------------
@dataclass(frozen=True)
class Node:
    """A command on what another one left (`base`, a number before its own), with one input."""

    base: int
    kind: Kind
    value: int


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Node], int]:
    """Small graphs of commands, and the one whose input changes."""
    size = draw(st.integers(1, 8))
    nodes = [
        Node(
            draw(st.integers(-1, number - 1)),
            draw(st.sampled_from(KINDS)),
            draw(st.integers(0, 2)),
        )
        for number in range(size)
    ]
    return nodes, draw(st.integers(0, size - 1))


def built(nodes: list[Node]) -> list[Exec]:
    """Return the commands of a graph, which share nothing but their inputs."""
    made: list[Exec] = []
    for number, node in enumerate(nodes):
        below: Files = made[node.base] if node.base >= 0 else Image(id="sha256:base")
        made.append(_command(below, number, node))
    return made


def _command(below: Files, number: int, node: Node) -> Exec:  # noqa: PLR0911 (one a kind)
    text = f"v{node.value}"

    async def content() -> Tree:
        return Tree({"": Entry(FILE, 0o644, size=len(text), content=text)})

    before = Container(files=below, platform="linux/amd64")
    ran = Exec(before=before, args=("run", str(number)))
    match node.kind:
        case "argument":
            return replace(ran, args=(*ran.args, text))
        case "stdin":
            return replace(ran, stdin=text)
        case "expect":
            return replace(ran, expect=("SUCCESS", "FAILURE", "ANY")[node.value])
        case "variable":
            return replace(ran, before=replace(before, env=(("V", text),)))
        case "user":
            return replace(ran, before=replace(before, user=text))
        case "workdir":
            return replace(ran, before=replace(before, workdir=text))
        case "mount":
            mount = Mount(path="/m", kind="file", source=content)
            return replace(ran, before=replace(before, mounts=(mount,)))
        case "file":
            edit = Edit(below=below, change=Change(kind="write", path="/f", source=content))
            return replace(ran, before=replace(before, files=edit))


def descendants(nodes: list[Node], changed: int) -> set[int]:
    """Return a command and all that stand on it."""
    found = {changed}
    for number, node in enumerate(nodes):
        if node.base in found:
            found.add(number)
    return found


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    daemon = Daemon(None, {})
    yield daemon
    daemon.client.close()


async def keys(options: engine.Options, daemon: Daemon, nodes: list[Node]) -> list[str]:
    """Return the commands' keys in an engine that has seen nothing yet, as a new process."""
    async with anyio.create_task_group() as group:
        fresh = Engine(options, daemon, group)
        found = [await fresh.keys.of(ran) for ran in built(nodes)]
        fresh.store.close()
    return found


@settings(max_examples=60, deadline=None)
@given(graph=graphs())
async def test_a_change_of_one_input_changes_the_keys_of_what_depends_on_it_and_no_others(
    options: engine.Options, daemon: Daemon, graph: tuple[list[Node], int]
) -> None:
    nodes, changed = graph
    before = await keys(options, daemon, nodes)
    assert await keys(options, daemon, nodes) == before
    other = [*nodes]
    other[changed] = replace(nodes[changed], value=(nodes[changed].value + 1) % 3)
    after = await keys(options, daemon, other)
    differ = {number for number in range(len(nodes)) if before[number] != after[number]}
    assert differ == descendants(nodes, changed)


# --- results: containers run ------------------------------------------------------------------
def diamond(lab: Lab, left: str, tail: str = "") -> dagger.Container:
    """Two branches of one trunk, one with an input from outside, and what uses both."""
    trunk = lab.sh(f"echo trunk{FRESH} > /t")
    source = lab.dag.directory().with_new_file("in", left)
    one = lab.sh(f"cat /in/in > /one; : one{FRESH}", trunk.with_mounted_directory("/in", source))
    two = lab.sh(f"cat /t > /two; : two{FRESH}", trunk)
    both = trunk.with_file("/one", one.file("/one")).with_file("/two", two.file("/two"))
    return lab.sh(f"cat /one /two; : both{FRESH}{tail}", both)


def counts(lab: Lab) -> dict[str, int]:
    return {name: lab.ran(name + FRESH) for name in ("trunk", "one", "two", "both")}


async def test_results_outlive_sessions_and_a_change_reruns_what_depends_on_it(
    options: engine.Options, session: Open
) -> None:
    async with session(options) as lab:
        first = await diamond(lab, "L").stdout()
        assert first == f"Ltrunk{FRESH}\n"
        assert counts(lab) == {"trunk": 1, "one": 1, "two": 1, "both": 1}
    async with session(options) as lab:
        assert await diamond(lab, "L").stdout() == first
        assert sum(counts(lab).values()) == 0
        assert await diamond(lab, "M").stdout() == f"Mtrunk{FRESH}\n"
        assert counts(lab) == {"trunk": 0, "one": 1, "two": 0, "both": 1}
        assert await diamond(lab, "M", tail=" again").stdout() == f"Mtrunk{FRESH}\n"
        assert counts(lab) == {"trunk": 0, "one": 1, "two": 0, "both": 2}


async def test_a_chain_longer_than_what_runs_at_once_comes_to_its_end(lab: Lab) -> None:
    c = lab.base.with_mounted_directory("/m", lab.files("f"))
    for number in range(2 * PARALLEL + 1):
        c = lab.sh(f"echo {number}{FRESH} >> /all", c)
    assert len((await lab.sh("cat /all", c).stdout()).split()) == 2 * PARALLEL + 1


async def test_a_step_asked_for_at_once_in_one_session_or_two_runs_once(
    options: engine.Options, session: Open
) -> None:
    found: set[str] = set()

    async def ask(lab: Lab) -> None:
        found.add(await lab.sh(f"sleep 0.5; date +%s%N; : {FRESH}").stdout())

    async with session(options) as one, session(options) as two:
        async with anyio.create_task_group() as group:
            for lab in (one, one, two, two):
                group.start_soon(ask, lab)
        assert one.ran(FRESH) + two.ran(FRESH) == 1
    assert len(found) == 1


def remove_content(cache: Path, text: str) -> None:
    """Remove a content of a cache directory, if it is there."""
    for path in (cache / "blobs").rglob("*"):
        if path.is_file() and path.read_bytes() == text.encode():
            path.unlink()


async def test_a_result_whose_image_or_output_is_gone_is_made_again(
    options: engine.Options, session: Open, tmp_path: Path, client: Any
) -> None:
    own = replace(options, cache_dir=tmp_path)
    before = {tag for image in client.images.list(filters=OWN) for tag in image.tags}
    script = f"echo kept{FRESH} > /f; echo said{FRESH}"
    async with session(own) as lab:
        await lab.sh(script).stdout()
    for image in client.images.list(filters=OWN):
        for tag in set(image.tags) - before:
            client.api.remove_image(tag, force=True)
    remove_content(tmp_path, f"kept{FRESH}\n")  # where the files are a layer in the store
    async with session(own) as lab:
        assert await lab.sh(script).stdout() == f"said{FRESH}\n"
        assert lab.ran(script) == 0  # nobody asked for files
        assert await lab.sh(script).file("/f").contents() == f"kept{FRESH}\n"
        assert lab.ran(script) == 1
    remove_content(tmp_path, f"said{FRESH}\n")
    async with session(own) as lab:
        assert await lab.sh(script).stdout() == f"said{FRESH}\n"
        assert lab.ran(script) == 1


@pytest.mark.parametrize(
    ("leave", "look"),
    [
        ("echo x > /dev/shm/f", "ls /dev/shm"),
        ("mkdir /dev/shm/d", "ls /dev/shm"),
        ("echo 192.0.2.1 left >> /etc/hosts", "grep left /etc/hosts"),
        ("echo '# left' >> /etc/resolv.conf", "grep left /etc/resolv.conf"),
        ("sleep 1000 & echo $!", "grep -la '[s]leep.1000' /proc/[0-9]*/cmdline"),
    ],
)
async def test_a_step_sees_nothing_that_is_in_no_image(lab: Lab, leave: str, look: str) -> None:
    c = lab.sh(leave, lab.base.with_env_variable("N", FRESH))
    assert await lab.sh(look, c, expect=dagger.ReturnType.ANY).stdout() == ""


async def test_a_chain_without_leftovers_runs_in_one_container(
    lab: Lab, client: docker.DockerClient
) -> None:
    c = lab.base.with_env_variable("N", FRESH + "chain")
    for number in range(4):
        c = lab.sh(f"echo {number} > /f; cat /etc/hostname >> /names", c)
    # Podman 5 writes /etc/hosts too late for the engine to see that a command has not.
    containers = 4 if podman_version(client) >= 5 else 1
    assert len(set((await c.file("/names").contents()).split())) == containers
