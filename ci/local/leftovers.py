"""Find and remove what acso created in the container engine, by labels and names.

An image inherits the labels of the image it is built on, so one that a user built on ours has our
labels too. Therefore an image counts as ours only if all of its names are ours.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ci.local import paths
from ci.local.container_engine import Docker

if TYPE_CHECKING:
    from docker.models.containers import Container

#: The label of every container that the embedded AWS starts.
TASK_LABEL = "ministack"
OUR_REPOSITORIES = ("acso/", "localhost:")


def remove_tasks(docker: Docker) -> list[str]:
    """Remove the containers of this instance's embedded AWS; return their names."""
    return _remove_containers(docker, [TASK_LABEL, _instance_filter()])


def remove_instance(docker: Docker) -> list[str]:
    """Remove containers, networks and volumes of this instance; return their names."""
    removed = _remove_containers(docker, [_instance_filter()])
    mine = {"label": _instance_filter()}
    for kind, found in (
        ("network", docker.client.networks.list(filters=mine)),
        ("volume", docker.client.volumes.list(filters=mine)),
    ):
        for item in found:
            _ignore_if_gone(item.remove)
            removed.append(f"{kind} {item.name}")
    return removed


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


def remove_cache(docker: Docker) -> list[str]:
    """Remove our cached images, children before parents; return their names.

    An image that another container or image needs is kept.
    """
    removed: list[str] = []
    filters = {"label": f"{paths.CACHE_LABEL}=1"}
    while True:
        found = [
            item for item in docker.client.api.images(all=True, filters=filters) if is_ours(item)
        ]
        done = [item for item in found if _remove_listed(docker, item)]
        removed += [f"image {_image_name(item)}" for item in done]
        if not done:
            return removed


def is_ours(image: dict[str, Any]) -> bool:
    """Return whether all names of a listed image are ours; True if it has no names."""
    tags: Iterable[str] = image.get("RepoTags") or []
    return all(tag.startswith(OUR_REPOSITORIES) for tag in tags if "<none>" not in tag)


def foreign_containers(docker: Docker) -> list[str]:
    """Return the names of the running containers that acso did not start."""
    return [
        _name(item)
        for item in docker.client.containers.list(sparse=True)
        if paths.INSTANCE_LABEL not in (item.attrs.get("Labels") or {})
    ]


def _instance_filter() -> str:
    return f"{paths.INSTANCE_LABEL}={paths.instance()}"


def _remove_containers(docker: Docker, labels: Sequence[str]) -> list[str]:
    found = _containers(docker, labels)
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


def _remove_listed(docker: Docker, image: dict[str, Any]) -> bool:
    return remove_image(docker, image["Id"], force=len(image.get("RepoTags") or []) > 1)


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


def _image_name(image: dict[str, Any]) -> str:
    names = [name for name in image.get("RepoTags") or [] if "<none>" not in name]
    return str((names or [image["Id"].removeprefix("sha256:")[:12]])[0])
