"""A container engine: found where it answers, started where it is installed, never taken over."""

import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from ci.errors import ContainerEngineError
from ci.local import daemon, docker, leftovers, stack
from ci.local.wait import blocking

pytestmark = pytest.mark.docker


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """State of its own, so that the machine's record of a daemon is not touched."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path
    found = daemon.running()
    if found is not None:
        os.kill(found.pid, signal.SIGKILL)


def throwaway(home: Path) -> tuple[list[str], Callable[[], Awaitable[bool]]]:
    """Return the command of a daemon beside the machine's own, and whether it answers.

    It has a network of its own: in the machine's, a daemon without a bridge removes docker0.
    """
    url = f"unix://{home}/d.sock"
    command = [
        *(
            "unshare",
            "--net",
            "dockerd",
            "--host",
            url,
            "--data-root",
            f"{home}/data",
            "--exec-root",
            f"{home}/exec",
        ),
        *("--pidfile", f"{home}/pid", "--bridge", "none", "--iptables=false"),
    ]

    async def answers() -> bool:
        return await docker.connected(url) is not None

    return command, answers


async def test_the_engine_that_answers_is_used_and_not_ours(engine: docker.Docker) -> None:
    found = await docker.find()
    assert found is not None
    assert (found.url, found.bridge) == (engine.url, engine.bridge)
    assert engine.client.ping()


async def test_a_daemon_is_started_waited_for_and_stopped_by_down_with_cache_alone(
    home: Path,
) -> None:
    command, answers = throwaway(home)
    child = await daemon.start(command, answers)
    assert await answers()
    assert daemon.running() == child
    await stack.down(print, cache=False)
    assert child.alive()
    assert await daemon.stop(print)
    assert not child.alive()
    assert not await answers()
    assert not await daemon.stop(print)


async def test_a_daemon_that_ends_at_its_start_tells_its_last_lines(home: Path) -> None:
    command, answers = throwaway(home)
    with pytest.raises(ContainerEngineError, match=r"(?s)ended at its start.*--no-such") as caught:
        await daemon.start([*command, "--no-such-option"], answers)
    assert "dockerd.log" in caught.value.hint
    assert daemon.running() is None


async def test_a_process_that_took_the_number_of_our_daemon_is_not_stopped(home: Path) -> None:
    path = home / "state" / "acso" / ".machine" / "dockerd.json"
    path.parent.mkdir(parents=True)
    path.write_text(f'{{"pid": {os.getpid()}, "started": "long ago"}}')
    assert not await daemon.stop(print)


async def test_a_silent_docker_host_is_an_error_and_nothing_is_installed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{home}/nobody.sock")
    with pytest.raises(ContainerEngineError, match=r"no container engine answers at DOCKER_HOST"):
        await docker.ensure(print)


async def test_without_root_and_engine_the_error_says_what_to_run(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "candidates", lambda *_: [f"unix://{home}/nobody.sock"])
    monkeypatch.setattr(docker, "DEFAULT", f"unix://{home}/nobody.sock")
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/apt-get" if "apt" in name else None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ContainerEngineError, match="needs root") as caught:
        await docker.ensure(print)
    assert caught.value.hint.startswith("sudo apt-get install docker.io")


async def test_an_apt_that_fails_is_told_by_its_last_lines(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A stand-in for apt-get: a mirror that cannot be reached cannot be had on demand.
    apt = home / "apt-get"
    apt.write_text("#!/bin/sh\necho 'E: Failed to fetch http://mirror.test/x' >&2\nexit 100\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}:/bin")
    monkeypatch.setattr(docker, "candidates", lambda *_: [f"unix://{home}/nobody.sock"])
    monkeypatch.setattr(docker, "DEFAULT", f"unix://{home}/nobody.sock")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(
        ContainerEngineError, match=r"(?s)could not install.*mirror\.test"
    ) as caught:
        await docker.ensure(print)
    assert "mirror cannot be reached" in caught.value.hint


def test_foreign_containers_are_told_apart(engine: docker.Docker) -> None:
    # `down --cache` leaves a daemon of ours running for them.
    assert blocking(lambda: isinstance(leftovers.foreign_containers(engine), list), seconds=1)
