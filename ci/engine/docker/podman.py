"""What Podman needs besides the Docker API."""

import resource

from docker.types import Ulimit

#: Podman's own default of both limits, also where its process may not have as much.
_DEFAULT = 1 << 20
_LIMITS = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}


def limits(url: str) -> list[Ulimit]:
    """Return the limits that a container of a Podman on this host needs to start.

    Before version 5 Podman gives a container more open files and processes than its own process
    may have, unless the limits are in the request (or `default_ulimits` in its settings).
    """
    if not url.startswith("http+docker://"):  # docker-py's form of a socket of this host
        return []
    found = {name: resource.getrlimit(kind)[1] for name, kind in _LIMITS.items()}
    return [
        Ulimit(name=name, soft=hard, hard=hard)
        for name, hard in found.items()
        if hard != resource.RLIM_INFINITY and hard < _DEFAULT
    ]
