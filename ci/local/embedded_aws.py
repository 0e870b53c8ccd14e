"""The embedded AWS of this instance: one process, started once, replaced if it has died.

It listens only on the loopback address and on the container engine's bridge, where tasks reach it.
Its state (stacks, tables, pushed images) is in memory: when it ends, environments are gone.
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

from ci.config import machine
from ci.config.machine import Address, embedded_aws_record
from ci.errors import HostError
from ci.local import dockerd, leftovers, lock, paths, process
from ci.local.aws import server
from ci.local.container_engine import Docker
from ci.local.wait import until

Say = Callable[[str], None]
PREFERRED_PORT = 4566  # the usual port of AWS emulators
START_TIMEOUT = 30.0  # seconds; 1 to 2 are usual
#: Environment variables that the server gets. Credentials and proxies are not among them.
_PASSED_ENVIRONMENT = (
    *("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPYCACHEPREFIX"),
    *("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"),
)


@dataclass(frozen=True, kw_only=True)
class Emulator:
    """A running embedded AWS."""

    port: int
    bridge: str  # the address at which containers reach it
    process: process.Process

    @property
    def endpoint(self) -> str:
        """The URL of its API, for AWS_ENDPOINT_URL."""
        return Address(self.port).endpoint

    @property
    def registry(self) -> str:
        """The host of its container registry; Docker accepts localhost without TLS."""
        return Address(self.port).registry

    @property
    def load_balancer(self) -> str:
        """The URL pattern of its load balancers."""
        return Address(self.port).load_balancer

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
    """Return the embedded AWS of this instance; start it if it is not running.

    Args:
        docker: the container engine that runs its tasks.
        say: receives lines of progress.
        plain: if it has to be started, start it without the corrections.

    Raises:
        HostError: it cannot be started; the message has its last log lines.
    """
    found = await find()
    if found is not None:
        return found
    async with lock.held(paths.state_dir() / "aws.lock", say):
        found = await find()
        if found is not None:
            return found
        await stop(docker, say)  # removes what a dead one left
        return await _start(docker, say, plain=plain)


async def find() -> Emulator | None:
    """Return the embedded AWS of this instance if it runs and answers; changes nothing."""
    found = recorded()
    if found is None or not found.process.alive():
        return None
    return found if await anyio.to_thread.run_sync(_answers, found) else None


async def stop(docker: Docker | None, say: Say) -> list[str]:
    """Stop it and remove its containers; return what was removed.

    Args:
        docker: the container engine that runs its tasks; None if no engine answers.
        say: receives lines of progress.
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
    """Return the embedded AWS that was last started, whether it still runs or not."""
    known = process.read(embedded_aws_record())
    if known is None:
        return None
    record = json.loads(embedded_aws_record().read_text())
    return Emulator(port=record["port"], bridge=record["bridge"], process=known)


def log_file() -> Path:
    """Return its log file."""
    return paths.state_dir() / "aws.log"


async def _start(docker: Docker, say: Say, *, plain: bool) -> Emulator:
    addresses = listening_addresses(docker.bridge)
    before = recorded()
    wanted = before.port if before else PREFERRED_PORT if machine.instance() == "default" else 0
    # A port that is free now may be taken before the server listens: then try another one.
    for _ in range(3):
        port = free_port(addresses, wanted)
        if wanted not in (0, port):
            say(f"port {wanted} is in use: using {port}")
        found = await _launch(docker, port, addresses, plain=plain)
        if found is not None:
            return found
        wanted = 0
    log = dockerd.tail(log_file(), 8)
    message = f"the embedded AWS could not be started; its last log lines:\n{log}"
    raise HostError(message, hint=f"see its log: {log_file()}")


async def _launch(
    docker: Docker, port: int, addresses: list[str], *, plain: bool
) -> Emulator | None:
    passed = {name: os.environ[name] for name in _PASSED_ENVIRONMENT if name in os.environ}
    settings = server.environ(
        port=port, instance=machine.instance(), state=paths.state_id(), docker=docker.url
    )
    binds = [item for address in addresses for item in ("--bind", address)]
    child = process.launch(
        [
            *(sys.executable, "-m", "ci.local.aws", "--port", str(port), *binds),
            *("--record", str(embedded_aws_record()), *(["--plain"] if plain else [])),
        ],
        environ=passed | settings | {"PYTHONPATH": str(Path(__file__).parents[2])},
        log=log_file(),
    )
    found = Emulator(port=port, bridge=docker.bridge, process=child)

    async def settled() -> bool:
        return not child.alive() or await anyio.to_thread.run_sync(_answers, found)

    if await until(settled, seconds=START_TIMEOUT) and child.alive():
        return found
    await child.stop(seconds=5)
    return None


def listening_addresses(bridge: str) -> list[str]:
    """Return the addresses to listen on: loopback, and the bridge if this machine has that address.

    With Docker Desktop the bridge is inside a virtual machine; containers there reach loopback
    addresses of this machine by the name host.docker.internal.
    """
    with socket.socket() as probe:
        try:
            probe.bind((bridge, 0))
        except OSError:
            return ["127.0.0.1"]
    return list(dict.fromkeys(["127.0.0.1", bridge]))


def free_port(addresses: list[str], wanted: int) -> int:
    """Return a port that is free on all addresses: `wanted` if it is free (0: any port).

    Raises:
        HostError: none was found.
    """
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
    message = f"there is no port for the embedded AWS that is free on {' and '.join(addresses)}"
    raise HostError(message, hint="list the ports in use: ss -ltn")


def _answers(found: Emulator) -> bool:
    """Return whether it answers at its port, and not another process."""
    return identity(found.port).get("pid") == found.process.pid


def identity(port: int) -> dict[str, Any]:
    """Return how the server at a port identifies itself, {} if it does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", server.IDENTITY_PATH)
        found = json.loads(connection.getresponse().read())
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    finally:
        connection.close()
    return found if isinstance(found, dict) else {}
