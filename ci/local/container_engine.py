"""The container engine: one that answers already, or Debian's Docker, installed and started here.

A daemon that was not started here is used, but never stopped. One that was is recorded by its
process; only `down --cache` stops it.
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
from ci.engine import requirements
from ci.errors import ContainerEngineError
from ci.local import dockerd, lock, paths

if TYPE_CHECKING:
    import docker

Say = Callable[[str], None]
DEFAULT = "unix:///var/run/docker.sock"
LOOPBACK = "127.0.0.1"
UPGRADE = "upgrade it, or set DOCKER_HOST to another container engine"
TASK_LABEL = "com.amazonaws.ecs.task-arn"  # on containers of the embedded AWS's tasks


@dataclass(frozen=True, kw_only=True)
class Docker:
    """A container engine that answers."""

    url: str | None  # None: given by DOCKER_HOST and its TLS variables
    started_by_us: bool
    bridge: str  # the address at which containers on the default network reach this machine
    version: str = ""
    refusal: str = ""  # why it cannot be used, one sentence
    limitations: tuple[str, ...] = ()  # what does not work with it, a sentence each

    @property
    def client(self) -> "docker.DockerClient":
        """A client of its API. Its calls block: make them in a worker thread."""
        return client(self.url)


def client(url: str | None, *, timeout: int = 60) -> "docker.DockerClient":
    """Return a client of the engine at a URL.

    Args:
        url: as in `Docker.url`.
        timeout: seconds to wait for the answer to one call.
    """
    return _client(url, os.environ.get("DOCKER_HOST") if url is None else "", timeout)


@cache
def _client(url: str | None, _: str | None, timeout: int) -> "docker.DockerClient":
    """Return the client for an engine and a timeout; it is shared and stays open."""
    import docker  # late: costs 0.15 s

    if url is None:
        return docker.from_env(timeout=timeout)
    return docker.DockerClient(base_url=url, timeout=timeout)


async def ensure(say: Say) -> Docker:
    """Return the container engine of this machine; install and start one if none answers.

    Args:
        say: receives lines of progress.

    Raises:
        ContainerEngineError: none answers and none can be started; the hint says what to do.
    """
    found = await find()
    if found is not None:
        return _usable(found)
    refuse_unusable_engine()
    async with lock.held(paths.machine_dir() / "dockerd.lock", say):
        found = await find()  # another process may have started one in the meantime
        if found is None:
            await dockerd.install_and_start(say, partial(_answers, DEFAULT))
            found = await find()
    if found is None:
        message = f"the container engine started here does not answer at {DEFAULT}"
        raise ContainerEngineError(message, hint=f"see its log: {dockerd.log_file()}")
    return _usable(found)


def _usable(found: Docker) -> Docker:
    if found.refusal:
        raise ContainerEngineError(found.refusal, hint=UPGRADE)
    return found


async def find() -> Docker | None:
    """Return the first container engine that answers, None if none does; changes nothing."""
    for url in candidates(os.environ, _context_socket()):
        found = await connected(url)
        if found is not None:
            return found
    return None


def candidates(
    environ: "os._Environ[str] | dict[str, str]", context: str | None
) -> list[str | None]:
    """Return the URLs to try, in order; None stands for DOCKER_HOST.

    If DOCKER_HOST is set, nothing else is tried. Otherwise: the current Docker context, the
    system's socket, the sockets of rootless Docker and of Podman.
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


def refuse_unusable_engine() -> None:
    """Raise if the user has an engine that cannot be used, so that none is started beside it.

    Raises:
        ContainerEngineError: DOCKER_HOST names an engine that does not answer, or this user has no
            permission to use the system's socket.
    """
    chosen = os.environ.get("DOCKER_HOST")
    if chosen:
        message = f"no container engine answers at DOCKER_HOST={chosen}"
        raise ContainerEngineError(message, hint="start that engine, or unset DOCKER_HOST")
    default = Path(DEFAULT.removeprefix("unix://"))
    if default.exists() and not usable(DEFAULT):
        message = f"this user has no permission to use the container engine at {default}"
        raise ContainerEngineError(message, hint="sudo usermod -aG docker $USER, then log in again")


def _context_socket() -> str | None:
    """Return the URL of the current Docker context, None if it has none."""
    from docker.context import ContextAPI
    from docker.errors import DockerException

    try:
        context = ContextAPI.get_current_context()
    except (DockerException, OSError, ValueError):  # a broken ~/.docker is no reason to fail
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
        version, info = api.version(), api.info()
        bridge = _bridge(api)
    except (DockerException, RequestException, OSError):
        return None
    return Docker(
        url=url,
        started_by_us=dockerd.running() is not None and url == DEFAULT,
        bridge=bridge,
        version=str(version["Version"]),
        refusal=requirements.refusal(version),
        limitations=tuple(requirements.limitations(info, url or os.environ["DOCKER_HOST"])),
    )


def usable(url: str) -> bool:
    """Return whether this user has permission for a URL's socket; True for other URLs."""
    return not url.startswith("unix://") or os.access(
        url.removeprefix("unix://"), os.R_OK | os.W_OK
    )


def listening(url: str) -> bool:
    """Return whether something listens at a URL's socket; True for other URLs.

    Checked first because Docker's client leaks a socket if it cannot connect.
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
    """Return the gateway of the default network, named bridge by Docker and podman by Podman."""
    found = {item.name: item for item in api.networks.list(names=list(networks.DEFAULT))}
    network = next((found[name] for name in networks.DEFAULT if name in found), None)
    if network is None:
        return LOOPBACK
    network.reload()
    return networks.gateway(network.attrs) or LOOPBACK


async def exec_command(task: str, command: Sequence[str]) -> tuple[str, ...]:
    """Return the command line that runs a command in the container of a task.

    Args:
        task: the id of a task of the embedded AWS.
        command: the command to run; it gets a terminal if this process has one.

    Raises:
        ContainerEngineError: the task has no container here, or there is no `docker` program.
    """
    found = await find()
    name = await anyio.to_thread.run_sync(_container, found, task) if found else None
    if found is None or name is None:
        message = f"no container of task {task} runs on this machine"
        hint = "with an endpoint other than AWS itself, `exec` works for the embedded AWS only"
        raise ContainerEngineError(message, hint=hint)
    if shutil.which("docker") is None:
        message = "`exec` on the embedded AWS needs the `docker` program, which is not on PATH"
        raise ContainerEngineError(message, hint="on Debian or Ubuntu: apt-get install docker.io")
    host = ("--host", found.url) if found.url else ()
    terminal = ("--tty",) if sys.stdin.isatty() and sys.stdout.isatty() else ()
    return ("docker", *host, "exec", "--interactive", *terminal, name, *command)


def _container(found: Docker, task: str) -> str | None:
    """Return the name of a task's container, None if it does not run here."""
    running = found.client.containers.list(filters={"label": TASK_LABEL}, ignore_removed=True)
    names = [item.name for item in running if item.labels[TASK_LABEL].endswith(f"/{task}")]
    return str(names[0]) if names else None
