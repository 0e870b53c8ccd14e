"""The client of a container engine: docker-py's, with what Podman's builds need in addition."""

import json
from collections.abc import Sequence
from typing import Any

import docker
import docker.errors
from docker.types import Ulimit
from docker.utils import kwargs_from_env

from ci.engine.errors import EngineError

#: Seconds that one call of the daemon may take: a commit or a load of gigabytes, at most.
TIMEOUT = 600
#: Concurrent calls of the daemon.
THREADS = 128


class Client(docker.APIClient):
    """A client of Docker's API whose builds have limits.

    docker-py has no parameter for them. Podman needs them in the form of its command line.
    """

    build_limits: Sequence[Ulimit] = ()

    def _post(self, url: str, **kwargs: Any) -> Any:
        if url.endswith("/build") and self.build_limits:
            texts = [f"{each.name}={each.soft}:{each.hard}" for each in self.build_limits]
            kwargs["params"] = {**kwargs.get("params", {}), "ulimits": json.dumps(texts)}
        return super()._post(url, **kwargs)  # type: ignore[misc] # its stubs leave this out


def connect(url: str | None) -> Any:
    """Return a client of a daemon; `None` means DOCKER_HOST or the default socket.

    Raises:
        EngineError: no daemon answers there.
    """
    settings = kwargs_from_env()
    if url is not None:
        settings = {**settings, "base_url": url}
    try:
        return Client(
            **settings,
            version="auto",
            timeout=TIMEOUT,
            # The client has a pool for each URL, and closes the oldest, even under a new user.
            num_pools=2 * THREADS,
            max_pool_size=THREADS,
        )
    except docker.errors.DockerException as error:
        raise EngineError(
            f"no container engine answers at {url or 'the default socket'}: {error}; "
            "start one, or set DOCKER_HOST"
        ) from error
