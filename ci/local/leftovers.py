"""What is ours in the container engine, found by labels and names alone; its removal.

Labels are inherited: an image that a user builds on ours carries ours too. So an image counts as
ours only if all of its names are.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ci.local import paths
from ci.local.container_engine import Docker

if TYPE_CHECKING:
    from docker.models.containers import Container

#: On every container that the embedded AWS starts.
TASK_LABEL = "ministack"
OUR_REPOSITORIES = ("acso/", "localhost:")


def remove_tasks(docker: Docker) -> list[str]:
    """Remove the containers of this instance's embedded AWS; return their names."""
    return _remove_containers(docker, [TASK_LABEL, _mine()])


def remove_instance(docker: Docker) -> list[str]:
    """Remove containers, networks and volumes of this instance; return their names."""
    removed = _remove_containers(docker, [_mine()])
    mine = {"label": _mine()}
    for kind, found in (
        ("network", docker.client.networks.list(filters=mine)),
        ("volume", docker.client.volumes.list(filters=mine)),
    ):
        for item in found:
            _unless_gone(item.remove)
            removed.append(f"{kind} {item.name}")
    return removed


def of_instance(docker: Docker) -> list[str]:
    """Return the names of this instance's containers, networks and volumes."""
    client, mine = docker.client, {"label": _mine()}
    return [
        *(_name(item) for item in _containers(docker, [_mine()])),
        *(str(item.name) for item in client.networks.list(filters=mine)),
        *(str(item.name) for item in client.volumes.list(filters=mine)),
    ]


def remove_registry_images(docker: Docker, registry: str) -> list[str]:
    """Remove the names that images have in a registry which is no more; return them."""
    found = docker.client.api.images(all=False)
    names = [
        name
        for image in found
        for name in [*(image["RepoTags"] or []), *(image["RepoDigests"] or [])]
        if name.startswith(f"{registry}/") and "<none>" not in name
    ]
    for name in names:
        _unless_gone(lambda name=name: docker.client.api.remove_image(name))  # type: ignore[misc]
    return [f"image {name}" for name in names]


def remove_cache(docker: Docker) -> list[str]:
    """Remove the images that are caches of ours, children before parents; return their names.

    One that somebody else's container or image needs stays.
    """
    removed: list[str] = []
    filters = {"label": f"{paths.CACHE_LABEL}=1"}
    while True:
        found = [
            item for item in docker.client.api.images(all=True, filters=filters) if is_ours(item)
        ]
        done = [item for item in found if _removed(docker, item)]
        removed += [f"image {_image_name(item)}" for item in done]
        if not done:
            return removed


def is_ours(image: dict[str, Any]) -> bool:
    """Whether all names of a listed image are ours; one without names is."""
    tags: Iterable[str] = image.get("RepoTags") or []
    return all(tag.startswith(OUR_REPOSITORIES) for tag in tags if "<none>" not in tag)


def foreign_containers(docker: Docker) -> list[str]:
    """Return the names of the running containers that are not ours."""
    return [
        _name(item)
        for item in docker.client.containers.list(sparse=True)
        if paths.INSTANCE_LABEL not in (item.attrs.get("Labels") or {})
    ]


def _mine() -> str:
    return f"{paths.INSTANCE_LABEL}={paths.instance()}"


def _remove_containers(docker: Docker, labels: Sequence[str]) -> list[str]:
    found = _containers(docker, labels)
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(_remove_container, found))
    return [f"container {_name(item)}" for item in found]


def _containers(docker: Docker, labels: Sequence[str]) -> "list[Container]":
    return docker.client.containers.list(all=True, sparse=True, filters={"label": list(labels)})


def _remove_container(container: "Container") -> None:
    _unless_gone(lambda: container.remove(force=True, v=True))


def remove_image(docker: Docker, reference: str, *, force: bool = False) -> bool:
    """Remove an image; return whether it went: another container or image may need it.

    Args:
        docker: where it is.
        reference: name or id; a name of several is taken away alone.
        force: with all its names, where the reference is an id.
    """
    from docker.errors import APIError

    try:
        docker.client.api.remove_image(reference, force=force)
    except APIError as error:
        if error.response is not None and error.response.status_code in (404, 409):
            return False
        raise
    return True


def _removed(docker: Docker, image: dict[str, Any]) -> bool:
    return remove_image(docker, image["Id"], force=len(image.get("RepoTags") or []) > 1)


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


def _image_name(image: dict[str, Any]) -> str:
    names = [name for name in image.get("RepoTags") or [] if "<none>" not in name]
    return str((names or [image["Id"].removeprefix("sha256:")[:12]])[0])
