"""The container engine: used if one answers, else started; stopped only if started here."""

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import pytest

from ci.errors import ContainerEngineError
from ci.local import base_image, container_engine, dockerd, leftovers, paths, stack

pytestmark = pytest.mark.docker


#: Only root can start a daemon; the error that other users get is tested below.
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a container engine")
#: Simulates a machine where Docker is installed but not running: no socket, no data, own network.
BARE = """
set -e
mount -t tmpfs tmpfs /run
mount --bind "$1" /var/lib/docker
ip link set lo up
shift
exec "$@"
"""
START_AND_REMOVE = """
import anyio
from ci.local import container_engine, stack

async def main() -> None:
    found = await container_engine.ensure(print)
    assert found.client.ping()
    again = await container_engine.ensure(print)
    print(found.started_by_us, again.started_by_us, found.bridge)
    print(await stack.down(print, cache=True))
    print(await container_engine.find())

anyio.run(main)
"""


@pytest.fixture
def home(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folders for state and caches, so that the machine's own record of a daemon is not used."""
    monkeypatch.setenv("XDG_STATE_HOME", str(short_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(short_path / "cache"))
    yield short_path
    anyio.run(dockerd.stop, print)  # if a test failed: killing it instead would leave mounts behind


def throwaway(home: Path) -> tuple[list[str], Callable[[], Awaitable[bool]]]:
    """Return the command of a second daemon, and a function that returns whether it answers.

    It gets its own network: in the machine's, a daemon without a bridge would remove docker0.
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
        return await container_engine.connected(url) is not None

    return command, answers


async def test_an_engine_that_answers_is_used(
    engine: container_engine.Docker,
) -> None:
    found = await container_engine.find()
    assert found is not None
    assert (found.url, found.bridge) == (engine.url, engine.bridge)
    assert engine.client.ping()


@as_root
def test_an_installed_docker_that_is_not_running_is_started_and_stopped(
    home: Path,
) -> None:
    data = home / "data"
    data.mkdir()
    command = ["unshare", "--mount", "--net", "sh", "-c", BARE, "sh", str(data)]
    done = subprocess.run(
        [*command, sys.executable, "-c", START_AND_REMOVE],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, *more = done.stdout.splitlines()
    assert first == "starting dockerd"
    assert more[0] == "True True 172.17.0.1"
    assert more[1].startswith("stopping dockerd (process ")
    assert more[2:] == ["1 process", "None"]


@as_root
async def test_only_down_with_cache_stops_a_daemon_that_was_started_here(
    home: Path,
) -> None:
    command, answers = throwaway(home)
    child = await dockerd.start(command, answers)
    assert await answers()
    assert dockerd.running() == child
    await stack.down(print, cache=False)
    assert child.alive()
    assert await dockerd.stop(print)
    assert not child.alive()
    assert not await answers()
    assert not await dockerd.stop(print)


@as_root
async def test_the_error_for_a_daemon_that_ends_has_its_last_log_lines(home: Path) -> None:
    command, answers = throwaway(home)
    with pytest.raises(
        ContainerEngineError, match=r"(?s)ended during startup.*--no-such"
    ) as caught:
        await dockerd.start([*command, "--no-such-option"], answers)
    assert "dockerd.log" in caught.value.hint
    assert dockerd.running() is None


async def test_another_process_with_the_number_of_our_daemon_is_not_stopped(home: Path) -> None:
    path = home / "state" / "acso" / ".machine" / "dockerd.json"
    path.parent.mkdir(parents=True)
    path.write_text(f'{{"pid": {os.getpid()}, "started": "long ago"}}')
    assert not await dockerd.stop(print)


async def test_a_docker_host_that_does_not_answer_is_an_error_and_nothing_is_installed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{home}/nobody.sock")
    with pytest.raises(ContainerEngineError, match=r"no container engine answers at DOCKER_HOST"):
        await container_engine.ensure(print)


async def test_without_root_or_an_engine_the_error_says_what_to_run(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_engine, "candidates", lambda *_: [f"unix://{home}/nobody.sock"])
    monkeypatch.setattr(container_engine, "DEFAULT", f"unix://{home}/nobody.sock")
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/apt-get" if "apt" in name else None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ContainerEngineError, match="needs root") as caught:
        await container_engine.ensure(print)
    assert caught.value.hint.startswith("sudo apt-get install docker.io")


async def test_the_error_for_a_failed_apt_has_its_last_lines(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A stand-in for apt-get: the real mirrors cannot be made unreachable.
    apt = home / "apt-get"
    apt.write_text("#!/bin/sh\necho 'E: Failed to fetch http://mirror.test/x' >&2\nexit 100\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}:/bin")
    monkeypatch.setattr(container_engine, "candidates", lambda *_: [f"unix://{home}/nobody.sock"])
    monkeypatch.setattr(container_engine, "DEFAULT", f"unix://{home}/nobody.sock")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(
        ContainerEngineError, match=r"(?s)could not install.*mirror\.test"
    ) as caught:
        await container_engine.ensure(print)
    assert "mirror cannot be reached" in caught.value.hint


@as_root
async def test_down_with_cache_removes_images_caches_and_a_daemon_that_nobody_else_uses(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, answers = throwaway(home)
    child = await dockerd.start(command, answers)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{home}/d.sock")
    found = await container_engine.ensure(print)
    archive = io.BytesIO()
    tarfile.open(fileobj=archive, mode="w").close()
    for name in ("acso/x", "mine"):
        changes = [f"LABEL {paths.CACHE_LABEL}=1", f"LABEL name={name}"]
        found.client.api.import_image_from_data(
            archive.getvalue(), repository=name, tag="1", changes=changes
        )
    base = base_image.BaseImage(reference="acso/x:1", digest="sha256:0", origin="debian")
    base_image._record("x", base)
    printed: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(leftovers, "running_containers", lambda _: ["postgres"])
        removed = await stack.down(printed.append, cache=True)
    assert "image acso/x:1" in removed.items
    assert "dockerd is kept: it runs other containers (postgres)" in printed
    assert [image.tags for image in found.client.images.list()] == [["mine:1"]]
    assert not paths.cache_dir().exists()
    removed = await stack.down(printed.append, cache=True)
    assert removed.items == ("process dockerd",)
    assert not child.alive()
    assert str(await stack.down(print, cache=True)) == "nothing to remove"
