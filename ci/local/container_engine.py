"""A container engine: the one that answers, or Debian's, installed and started here.

Someone else's daemon is used and never stopped. One that was started here is known by its process
and stopped by `down --cache` alone.
"""

import os
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from ci.common import networks
from ci.errors import ContainerEngineError
from ci.local import dockerd, lock, paths

if TYPE_CHECKING:
    import docker

Say = Callable[[str], None]
DEFAULT = "unix:///var/run/docker.sock"
LOOPBACK = "127.0.0.1"
TASK_LABEL = "com.amazonaws.ecs.task-arn"  # which task a container is of


@dataclass(frozen=True, kw_only=True)
class Docker:
    """A container engine that answers."""

    url: str | None  # None: what DOCKER_HOST says, with its TLS settings
    started_by_us: bool
    bridge: str  # the address under which containers on the default network reach this machine
    version: str = ""

    @property
    def client(self) -> "docker.DockerClient":
        """A client of its API; calls block, so make them in a thread."""
        return client(self.url)


def client(url: str | None, *, timeout: int = 60) -> "docker.DockerClient":
    """Return a client of the engine at a URL, None for what DOCKER_HOST says.

    Args:
        url: as in `Docker.url`.
        timeout: seconds that one call may stay without an answer.
    """
    return _client(url, os.environ.get("DOCKER_HOST") if url is None else "", timeout)


@cache
def _client(url: str | None, _: str | None, timeout: int) -> "docker.DockerClient":
    """Return the one client of this process for an engine and a timeout; it stays open."""
    import docker  # late: costs 0.15 s

    if url is None:
        return docker.from_env(timeout=timeout)
    return docker.DockerClient(base_url=url, timeout=timeout)


async def ensure(say: Say) -> Docker:
    """Return the container engine of this machine; install and start one where there is none.

    Args:
        say: told each step.

    Raises:
        ContainerEngineError: there is none and none can be had; the hint says what to run.
    """
    found = await find()
    if found is not None:
        return found
    refuse_another_engine()
    async with lock.held(paths.machine_dir() / "dockerd.lock", say):
        found = await find()  # another process may have started it meanwhile
        if found is None:
            await dockerd.install_and_start(say, partial(_answers, DEFAULT))
            found = await find()
    if found is None:
        message = f"the container engine started here does not answer at {DEFAULT}"
        raise ContainerEngineError(message, hint=f"its log: {dockerd.log_file()}")
    return found


async def find() -> Docker | None:
    """Return the first container engine that answers, None if none does; nothing is changed."""
    for url in candidates(os.environ, _context_socket()):
        found = await connected(url)
        if found is not None:
            return found
    return None


def candidates(
    environ: "os._Environ[str] | dict[str, str]", context: str | None
) -> list[str | None]:
    """Return the URLs to try, best first; None stands for DOCKER_HOST.

    DOCKER_HOST is a choice: no other is tried beside it. Then come the current Docker context, the
    system's socket, those of rootless Docker and of Podman.
    """
    if environ.get("DOCKER_HOST"):
        return [None]
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    known = [
        context or DEFAULT,
        DEFAULT,
        f"unix://{runtime}/docker.sock",
        f"unix://{runtime}/podman/podman.sock",
        "unix:///run/podman/podman.sock",
    ]
    return list(dict.fromkeys(known))


def refuse_another_engine() -> None:
    """Raise where starting an engine would not be what the user means.

    Raises:
        ContainerEngineError: DOCKER_HOST chooses one that is silent, or the system's may not be
            used by this user.
    """
    chosen = os.environ.get("DOCKER_HOST")
    if chosen:
        message = f"no container engine answers at DOCKER_HOST={chosen}"
        raise ContainerEngineError(message, hint="start it, or unset DOCKER_HOST")
    default = Path(DEFAULT.removeprefix("unix://"))
    if default.exists() and not usable(DEFAULT):
        message = f"this user may not use the container engine at {default}"
        raise ContainerEngineError(message, hint="sudo usermod -aG docker $USER, then log in again")


def _context_socket() -> str | None:
    """Return the URL of the Docker context that the user chose."""
    from docker.context import ContextAPI
    from docker.errors import DockerException

    try:
        context = ContextAPI.get_current_context()
    except (DockerException, OSError, ValueError):  # a broken ~/.docker is no reason to fail here
        return None
    return context.Host or None


async def connected(url: str | None) -> Docker | None:
    """Return the engine at a URL if it answers within a few seconds (None: at DOCKER_HOST)."""
    return await anyio.to_thread.run_sync(_connected, url)


async def _answers(url: str) -> bool:
    return await connected(url) is not None


def _connected(url: str | None) -> Docker | None:
    if not listening(url or os.environ["DOCKER_HOST"]):
        return None
    from docker.errors import DockerException
    from requests import RequestException

    try:
        api = client(url, timeout=5)
        version = str(api.version()["Version"])
        bridge = _bridge(api)
    except (DockerException, RequestException, OSError):
        return None
    return Docker(
        url=url,
        started_by_us=dockerd.running() is not None and url == DEFAULT,
        bridge=bridge,
        version=version,
    )


def usable(url: str) -> bool:
    """Whether this user may use the socket at a URL; others than sockets may be tried."""
    return not url.startswith("unix://") or os.access(
        url.removeprefix("unix://"), os.R_OK | os.W_OK
    )


def listening(url: str) -> bool:
    """Whether somebody answers at the socket of a URL; others than sockets may be tried.

    Docker's client leaves a socket open when this fails, so it is not asked before.
    """
    if not url.startswith("unix://"):
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(url.removeprefix("unix://"))
        except OSError:
            return False
    return True


def _bridge(api: "docker.DockerClient") -> str:
    """Return the address at which containers on the default network reach this machine."""
    found = {item.name: item for item in api.networks.list(names=list(networks.DEFAULT))}
    network = next((found[name] for name in networks.DEFAULT if name in found), None)
    if network is None:
        return LOOPBACK
    network.reload()
    return networks.gateway(network.attrs) or LOOPBACK


async def exec_command(task: str, command: Sequence[str]) -> tuple[str, ...]:
    """Return the command line that runs a command in the container of an embedded AWS's task.

    Args:
        task: the task's id.
        command: what to run; with a terminal where this process has one.

    Raises:
        ContainerEngineError: no such container runs here, or there is no `docker` program.
    """
    found = await find()
    name = await anyio.to_thread.run_sync(_container, found, task) if found else None
    if found is None or name is None:
        message = f"no container of task {task} runs on this machine"
        hint = "ECS Exec on another AWS than AWS itself is for the embedded one alone"
        raise ContainerEngineError(message, hint=hint)
    if shutil.which("docker") is None:
        message = "there is no `docker` program on PATH to enter a container with"
        raise ContainerEngineError(message, hint="on Debian or Ubuntu: apt-get install docker.io")
    where = ("--host", found.url) if found.url else ()
    terminal = ("--tty",) if sys.stdin.isatty() and sys.stdout.isatty() else ()
    return ("docker", *where, "exec", "--interactive", *terminal, name, *command)


def _container(found: Docker, task: str) -> str | None:
    """Return the name of a task's container; its label is the embedded AWS's."""
    running = found.client.containers.list(filters={"label": TASK_LABEL})
    names = [item.name for item in running if item.labels[TASK_LABEL].endswith(f"/{task}")]
    return str(names[0]) if names else None
