"""Small pure parts: names of images and sessions, work that runs once, layers over trees."""

import os
import subprocess
import sys

import anyio
import pytest

from ci.common import owners
from ci.engine.api import sdl
from ci.engine.errors import EngineError
from ci.engine.execution.dockerfile import with_substitutes
from ci.engine.execution.images import parse_reference
from ci.engine.execution.single_flight import SingleFlight
from ci.engine.ids import Call
from ci.engine.values import Container, expand_variables


@pytest.mark.parametrize(
    ("text", "parts", "registry"),
    [
        ("python", ("python", "", ""), "docker.io"),
        ("python:3.11-slim", ("python", "3.11-slim", ""), "docker.io"),
        ("localhost:5000/a/b", ("localhost:5000/a/b", "", ""), "localhost:5000"),
        ("h.io/a:1@sha256:ab", ("h.io/a", "1", "sha256:ab"), "h.io"),
        ("a/b@sha256:ab", ("a/b", "", "sha256:ab"), "docker.io"),
    ],
)
def test_a_reference_has_its_parts(text: str, parts: tuple[str, ...], registry: str) -> None:
    found = parse_reference(text)
    assert (found.repository, found.tag, found.digest) == parts
    assert found.registry == registry


def test_a_dockerfile_gets_the_images_that_are_used_instead() -> None:
    text = "ARG A\nFROM --platform=x python:3 AS one\nfrom other\nRUN echo FROM python:3\n"
    assert with_substitutes(text, {"python:3": "local:1"}) == (
        "ARG A\nFROM --platform=x local:1 AS one\nfrom other\nRUN echo FROM python:3\n"
    )


def test_variables_are_expanded_as_in_a_shell_without_defaults() -> None:
    container = Container(platform="p", env=(("A", "a"), ("B", "b")))
    assert expand_variables("$A/${B}:$C-${D}.$", container) == "a/b:-.$"


def test_a_secret_or_volatile_variable_is_named_where_it_would_be_expanded() -> None:
    secret = Call("Secret", "setSecret")
    container = Container(platform="p", secrets=(("TOKEN", secret),), volatile=(("V", "1"),))
    for name, kind in (("TOKEN", "secret"), ("V", "volatile")):
        with pytest.raises(EngineError, match=f'{kind} env variable "{name}"'):
            expand_variables(f"${{{name}}}", container)


def test_a_session_is_dead_when_its_process_is() -> None:
    own = owners.owner_name()
    assert not owners.is_dead(own)
    script = "from ci.common import owners; print(owners.owner_name())"
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert owners.is_dead(told.stdout.strip())
    place, process, started, rest = own.rsplit("/", 3)
    host, boot, *namespace = place.split("/")
    assert process == str(os.getpid())
    assert owners.is_dead("/".join([place, process, "1", rest]))  # the number is another's
    other_boot = "/".join([host, "boot", *namespace, process, started, rest])
    assert owners.is_dead(other_boot)
    elsewhere = "/".join(["elsewhere", boot, *namespace, process, "1", rest])
    assert not owners.is_dead(elsewhere)
    container = "/".join([host, boot, "another namespace", process, "1", rest])
    assert not owners.is_dead(container)  # its processes cannot be seen from here


async def test_the_same_work_runs_once_and_its_error_reaches_all() -> None:
    runs: list[int] = []

    async def work() -> None:
        runs.append(1)
        await anyio.sleep(0.01)
        raise ValueError("once")

    async def wait(flights: SingleFlight) -> None:
        with pytest.raises(ValueError, match="once"):
            await flights.run("key", work)

    async with anyio.create_task_group() as group:
        flights = SingleFlight(group)
        async with anyio.create_task_group() as waiters:
            for _ in range(3):
                waiters.start_soon(wait, flights)
        assert len(runs) == 1
        await wait(flights)  # nothing is remembered of work that is over
    assert len(runs) == 2


async def test_work_goes_on_while_one_waits_and_ends_when_nobody_does() -> None:
    started, ended = anyio.Event(), anyio.Event()

    async def work() -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with anyio.create_task_group() as group:
        flights = SingleFlight(group)
        one, other = anyio.CancelScope(), anyio.CancelScope()

        async def wait(scope: anyio.CancelScope) -> None:
            with scope:
                await flights.run("key", work)

        group.start_soon(wait, one)
        group.start_soon(wait, other)
        await started.wait()
        await anyio.wait_all_tasks_blocked()
        other.cancel()
        await anyio.wait_all_tasks_blocked()
        assert not ended.is_set()
        one.cancel()
        await ended.wait()


def test_the_committed_schema_is_the_installed_clients() -> None:
    assert sdl.FILE.read_text() == sdl.generate()


def test_a_process_of_another_pid_namespace_is_not_dead() -> None:
    place, process, _, rest = owners.owner_name().rsplit("/", 3)
    node, boot, namespace = place.split("/")
    gone = "/".join([node, boot, namespace, process, "1", rest])
    assert owners.is_dead(gone)
    assert not owners.is_dead(gone.replace(namespace, "pid:[1]"))
    assert owners.is_dead(gone.replace(namespace, "pid:[1]").replace(boot, "other"))
    # Of an earlier version, without the namespace: it may be any.
    assert not owners.is_dead("/".join([node, boot, process, "1", rest]))
