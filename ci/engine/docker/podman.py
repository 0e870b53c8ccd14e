"""What Podman needs besides the Docker API."""

import resource
from pathlib import Path
from typing import Any

from docker.types import Ulimit

#: Podman's own default of both limits, also where its process may not have as much.
_DEFAULT = 1 << 20
_LIMITS = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
_PROCESSES = Path("/proc/sys/kernel/pid_max")  # Podman's process lowers its own limit to this


def limits(url: str) -> list[Ulimit]:
    """Return the limits that a container of a Podman on this host needs to start.

    Before version 5 Podman gives a container more open files and processes than its own process
    may have, unless the limits are in the request (or `default_ulimits` in its settings).
    """
    if not url.startswith("http+docker://"):  # docker-py's form of a socket of this host
        return []
    found = {name: _hard(kind) for name, kind in _LIMITS.items()}
    if _PROCESSES.exists():
        found["nproc"] = min(found["nproc"], int(_PROCESSES.read_text()))
    return [
        Ulimit(name=name, soft=hard, hard=hard) for name, hard in found.items() if hard < _DEFAULT
    ]


def _hard(kind: int) -> int:
    """Return the hard limit of this process; what has none is as good as Podman's default."""
    hard = resource.getrlimit(kind)[1]
    return _DEFAULT if hard == resource.RLIM_INFINITY else hard


def remove(client: Any, container: str, *, v: bool, force: bool) -> None:
    """Remove a container at once; blocks.

    By the Docker API Podman 5 waits ten seconds for a running container to end by itself.

    Args:
        client: a client of docker-py.
        container: its id.
        v: with its anonymous volumes.
        force: even if it runs.

    Raises:
        docker.errors.APIError: it is missing, or cannot be removed.
    """
    url = f"{client.base_url}/v4.0.0/libpod/containers/{container}"
    params = {"v": v, "force": force, "timeout": 0}
    client._raise_for_status(client._delete(url, params=params))
