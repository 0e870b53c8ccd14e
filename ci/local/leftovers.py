"""Find and remove what acso created in the container engine, by its labels.

Several users, state folders and sessions may share a container engine. Nothing is removed that
belongs to a running process: a container's labels name the process that owns it.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ci.common import owners
from ci.config import machine
from ci.local import paths
from ci.local.container_engine import Docker

if TYPE_CHECKING:
    from docker.models.containers import Container

#: The label of every container that the embedded AWS starts.
TASK_LABEL = "ministack"
#: The label of what a session of the local engine creates: its owner.
SESSION_LABEL = "acso.engine.session"


def remove_tasks(docker: Docker) -> list[str]:
    """Remove the containers of this instance's embedded AWS, which has ended; return their names.

    Those of an instance with the same name in another state folder are removed if their owner has
    ended too.
    """
    return _remove_containers(docker, [TASK_LABEL, _instance_filter()])


def remove_instance(docker: Docker) -> list[str]:
    """Remove containers, networks and volumes of this instance; return their names.

    What belongs to a running session stays.
    """
    removed = _remove_containers(docker, [_instance_filter()])
    mine = {"label": _instance_filter()}
    for kind, found in (
        ("network", docker.client.networks.list(filters=mine)),
        ("volume", docker.client.volumes.list(filters=mine)),
    ):
        for item in found:
            labels = item.attrs.get("Labels") or {}
            if is_removable(labels) and _remove_unless_used(item.remove):
                removed.append(f"{kind} {item.name}")
    return removed


def running_sessions(docker: Docker) -> set[str]:
    """Return the sessions of the local engine that run in this instance, by their owners' names."""
    found = _containers(docker, [SESSION_LABEL, _instance_filter()])
    names = {str(_labels(item)[SESSION_LABEL]) for item in found}
    return {name for name in names if not owners.is_dead(name)}


def is_removable(labels: Mapping[str, str]) -> bool:
    """Return whether something of this instance may be removed, as its labels show.

    Its own containers stay only while their owner is seen to run. Those of sessions, and of an
    instance with the same name in another state folder, go only if their owner is known to have
    ended: it may run where it cannot be seen from here.
    """
    if session := labels.get(SESSION_LABEL):
        return owners.is_dead(session)
    owner = labels.get(paths.OWNER_LABEL)
    if labels.get(paths.STATE_LABEL) == paths.state_id():
        return owner is None or not owners.is_alive(owner)
    return owner is not None and owners.is_dead(owner)


def remove_registry_images(docker: Docker, registry: str) -> list[str]:
    """Remove the names that images have in a registry that has ended; return them."""
    found = docker.client.api.images(all=False)
    names = [
        name
        for image in found
        for name in [*(image["RepoTags"] or []), *(image["RepoDigests"] or [])]
        if name.startswith(f"{registry}/") and "<none>" not in name
    ]
    for name in names:
        _ignore_if_gone(lambda name=name: docker.client.api.remove_image(name))  # type: ignore[misc]
    return [f"image {name}" for name in names]


def running_containers(docker: Docker) -> list[str]:
    """Return the names of all running containers."""
    return [_name(item) for item in docker.client.containers.list(sparse=True)]


def _instance_filter() -> str:
    return f"{paths.INSTANCE_LABEL}={machine.instance()}"


def _remove_containers(docker: Docker, labels: Sequence[str]) -> list[str]:
    found = [item for item in _containers(docker, labels) if is_removable(_labels(item))]
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(_remove_container, found))
    return [f"container {_name(item)}" for item in found]


def _containers(docker: Docker, labels: Sequence[str]) -> "list[Container]":
    return docker.client.containers.list(all=True, sparse=True, filters={"label": list(labels)})


def _remove_container(container: "Container") -> None:
    _ignore_if_gone(lambda: container.remove(force=True, v=True))


def remove_image(docker: Docker, reference: str, *, force: bool = False) -> bool:
    """Remove an image; return False if it is gone or another container or image needs it.

    Args:
        docker: the container engine that has it.
        reference: a name or an id. If the image has other names, only this name is removed.
        force: if the reference is an id, remove all names of the image.
    """
    from docker.errors import APIError

    try:
        docker.client.api.remove_image(reference, force=force)
    except APIError as error:
        if error.response is not None and error.response.status_code in (404, 409):
            return False
        raise
    return True


def _remove_unless_used(remove: Callable[[], Any]) -> bool:
    """Remove something; return False if a container uses it or it is gone."""
    from docker.errors import APIError

    try:
        remove()
    except APIError as error:
        if error.status_code in (403, 404, 409):  # 403: a network with endpoints
            return False
        raise
    return True


def _ignore_if_gone(remove: Callable[[], Any]) -> None:
    """Remove something, ignoring that another process removes or has removed it."""
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


def _labels(container: "Container") -> Mapping[str, str]:
    return container.attrs.get("Labels") or {}
