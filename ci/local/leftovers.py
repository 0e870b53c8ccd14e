"""What of this instance is in the container engine, found by its labels alone."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ci.local import paths
from ci.local.docker import Docker

if TYPE_CHECKING:
    from docker.models.containers import Container

#: On every container that the embedded AWS starts.
TASK_LABEL = "ministack"


def remove_tasks(docker: Docker) -> list[str]:
    """Remove the containers of this instance's embedded AWS; return their names."""
    return _remove_containers(docker, [TASK_LABEL, _mine()])


def _mine() -> str:
    return f"{paths.INSTANCE_LABEL}={paths.instance()}"


def _remove_containers(docker: Docker, labels: Sequence[str]) -> list[str]:
    from concurrent.futures import ThreadPoolExecutor

    found = docker.client.containers.list(all=True, sparse=True, filters={"label": list(labels)})
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(_remove_container, found))
    return [f"container {_name(item)}" for item in found]


def _remove_container(container: "Container") -> None:
    _unless_gone(lambda: container.remove(force=True, v=True))


def _unless_gone(remove: Callable[[], Any]) -> None:
    """Remove something that another may be removing at the same time."""
    from docker.errors import APIError, NotFound

    try:
        remove()
    except NotFound:
        pass
    except APIError as error:
        if "already in progress" not in str(error):
            raise


def _name(container: "Container") -> str:
    return str((container.attrs.get("Names") or [container.id])[0]).lstrip("/")
