"""The embedded AWS of this instance: one process, found again, replaced when dead.

It listens on the loopback address and on the container engine's bridge, by which tasks reach it,
and on no other. What it holds (stacks, tables, images pushed) lives in its memory: after its end
an environment is deployed anew.
"""

import http.client
import json
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from ci.errors import HostError
from ci.local import dockerd, leftovers, lock, paths, process
from ci.local.aws import server
from ci.local.container_engine import Docker
from ci.local.wait import until

Say = Callable[[str], None]
PREFERRED = 4566  # where people expect an emulator of AWS
START = 30.0  # seconds; 1 to 2 are usual
#: Of this process's environment, what the server needs. No credentials or proxies go there.
_KEPT = (
    *("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPYCACHEPREFIX"),
    *("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"),
)


@dataclass(frozen=True, kw_only=True)
class Emulator:
    """A running embedded AWS."""

    port: int
    bridge: str  # the address by which containers reach it
    process: process.Process

    @property
    def endpoint(self) -> str:
        """The URL of its API, for AWS_ENDPOINT_URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def registry(self) -> str:
        """Its container registry; Docker takes this name without TLS."""
        return f"localhost:{self.port}"

    @property
    def load_balancer(self) -> str:
        """The URL pattern of a load balancer."""
        return f"{self.endpoint}/_alb/{{name}}"

    def environ(self) -> dict[str, str]:
        """Return the variables that point an AWS client at it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


async def ensure(docker: Docker, say: Say, *, plain: bool = False) -> Emulator:
    """Return the embedded AWS of this instance; start it where it does not run.

    Args:
        docker: where its tasks run.
        say: told each step.
        plain: without the corrections, when it has to be started.

    Raises:
        HostError: it does not start; its last log lines are in the message.
    """
    found = await find()
    if found is not None:
        return found
    async with lock.held(paths.state_dir() / "aws.lock", say):
        found = await find()
        if found is not None:
            return found
        await stop(docker, say)  # what a dead one left
        return await _started(docker, say, plain=plain)


async def find() -> Emulator | None:
    """Return the embedded AWS of this instance if it runs and answers; nothing is changed."""
    found = recorded()
    if found is None or not found.process.alive():
        return None
    return found if await anyio.to_thread.run_sync(_is_itself, found) else None


async def stop(docker: Docker | None, say: Say) -> list[str]:
    """End it and remove its containers; return what was removed.

    Args:
        docker: where its tasks run; None if no engine answers.
        say: told each step.
    """
    removed = []
    found = recorded()
    if found is not None and found.process.alive():
        say(f"stopping the embedded AWS (process {found.process.pid})")
        await found.process.stop(seconds=20)
        removed.append(f"process {found.process.pid} (embedded AWS)")
    if docker is not None:
        removed += await anyio.to_thread.run_sync(leftovers.remove_tasks, docker)
    return removed


def recorded() -> Emulator | None:
    """Return the embedded AWS as it was last started, running or not."""
    known = process.read(_record())
    if known is None:
        return None
    more = json.loads(_record().read_text())
    return Emulator(port=more["port"], bridge=more["bridge"], process=known)


def log_file() -> Path:
    """Return where it writes."""
    return paths.state_dir() / "aws.log"


def _record() -> Path:
    return paths.state_dir() / "aws.json"


async def _started(docker: Docker, say: Say, *, plain: bool) -> Emulator:
    addresses = listening_addresses(docker.bridge)
    before = recorded()
    wanted = before.port if before else PREFERRED if paths.instance() == "default" else 0
    # A port that is free now may be taken a moment later: then the next one is tried.
    for _ in range(3):
        port = free_port(addresses, wanted)
        if wanted not in (0, port):
            say(f"port {wanted} is in use: taking {port}")
        found = await _launched(docker, port, addresses, plain=plain)
        if found is not None:
            return found
        wanted = 0
    message = f"the embedded AWS does not start; its last lines:\n{dockerd.tail(log_file(), 8)}"
    raise HostError(message, hint=f"its whole log: {log_file()}")


async def _launched(
    docker: Docker, port: int, addresses: list[str], *, plain: bool
) -> Emulator | None:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    settings = server.environ(port=port, instance=paths.instance(), docker=docker.url)
    binds = [item for address in addresses for item in ("--bind", address)]
    child = process.launch(
        [
            *(sys.executable, "-m", "ci.local.aws", "--port", str(port), *binds),
            *("--record", str(_record()), *(["--plain"] if plain else [])),
        ],
        environ=kept | settings | {"PYTHONPATH": str(Path(__file__).parents[2])},
        log=log_file(),
    )
    found = Emulator(port=port, bridge=docker.bridge, process=child)

    async def settled() -> bool:
        return not child.alive() or await anyio.to_thread.run_sync(_is_itself, found)

    if await until(settled, seconds=START) and child.alive():
        return found
    await child.stop(seconds=5)
    return None


def listening_addresses(bridge: str) -> list[str]:
    """Return the addresses to listen on: loopback, and the bridge where it is this machine's.

    With Docker Desktop the bridge is inside its virtual machine, from which containers reach the
    loopback address by the name host.docker.internal.
    """
    with socket.socket() as probe:
        try:
            probe.bind((bridge, 0))
        except OSError:
            return ["127.0.0.1"]
    return list(dict.fromkeys(["127.0.0.1", bridge]))


def free_port(addresses: list[str], wanted: int) -> int:
    """Return a port that is free on all addresses: the one wanted if possible (0: any)."""
    for port in (wanted, *[0] * 20):
        taken = port
        try:
            for address in addresses:
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((address, taken))
                    taken = probe.getsockname()[1]
        except OSError:
            continue
        return int(taken)
    message = "no free port for the embedded AWS"
    raise HostError(message, hint="see which are taken: ss -ltn")


def _is_itself(found: Emulator) -> bool:
    """Whether our process answers at the port, and not somebody else's."""
    return identity(found.port).get("pid") == found.process.pid


def identity(port: int) -> dict[str, Any]:
    """Return what the server at a port says of itself, {} if it does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", server.IDENTITY)
        said = json.loads(connection.getresponse().read())
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    finally:
        connection.close()
    return said if isinstance(said, dict) else {}
