"""The base image of everything built here: from a registry, or made of Debian's packages.

Where a registry answers, it is the image that acso.toml names, at the digest that the name has
there now. Elsewhere Debian's own Python is put into an image of an honest name, by mmdebstrap.
Either way its content has an id, `digest`, that enters the versions of what is built upon it.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import anyio

from ci.errors import HostError
from ci.local import debian_image, lock, paths
from ci.local.container_engine import Docker, client

Say = Callable[[str], None]
NAME = "python:3.11-slim"
#: Seconds until a registry counts as unreachable, and that a pull of 50 MB may take.
ANSWER, PULL = 8, 120


@dataclass(frozen=True, kw_only=True)
class BaseImage:
    """An image with `python3`, its venv module and CA certificates."""

    reference: str  # usable in this Docker
    digest: str  # of its content
    origin: Literal["registry", "debian"]
    image_id: str = ""  # Docker's own, to notice that the reference means something else now
    pulled: bool = False  # by us: so `down --cache` removes it
    recipe: str = ""  # by which it was made here


async def ensure(docker: Docker, say: Say, *, name: str = NAME) -> BaseImage:
    """Return the base image; get or make it where it is not there yet.

    Args:
        docker: where it is needed.
        say: told each step.
        name: the image wanted, as a registry knows it.

    Raises:
        HostError: no registry answers and it cannot be made here either.
    """
    found = await current(docker, name)
    if found is not None:
        return found
    async with lock.held(paths.cache_dir() / "base.lock", say) as descriptor:
        found = await current(docker, name)
        if found is None:
            found = await _made(docker, say, name, descriptor)
            _record(name, found)
    return found


async def current(docker: Docker, name: str = NAME) -> BaseImage | None:
    """Return the base image that is there already, None if there is none; nothing is changed."""
    found = _recorded(name)
    if found is None:
        return None
    there = await anyio.to_thread.run_sync(_image_id, docker, found.reference)
    return found if there == found.image_id else None


def pulled_reference(name: str = NAME) -> str | None:
    """Return the reference that was pulled for us, for its removal."""
    found = _recorded(name)
    return found.reference if found is not None and found.pulled else None


def forget(name: str = NAME) -> None:
    """Forget which image it is, once it is removed."""
    _path(name).unlink(missing_ok=True)


async def _made(docker: Docker, say: Say, name: str, descriptor: int) -> BaseImage:
    found = await anyio.to_thread.run_sync(_from_registry, docker, name, say)
    if found is not None:
        return found
    say(f"{name} cannot be pulled: making an image of Debian's packages in its place")
    made = await debian_image.build(docker, say, descriptor)
    return BaseImage(
        reference=made.reference,
        digest=made.digest,
        origin="debian",
        image_id=made.image_id,
        recipe=debian_image.recipe(),
    )


def _from_registry(docker: Docker, name: str, say: Say) -> BaseImage | None:
    from docker.errors import DockerException
    from docker.utils import parse_repository_tag
    from requests import RequestException

    local = _local(docker, name)
    if local is not None:
        return local
    try:
        digest = str(client(docker.url, timeout=ANSWER).images.get_registry_data(name).id)
        repository, _ = parse_repository_tag(name)
        say(f"pulling {name} ({digest[:19]})")
        _pull(docker, repository, digest)
        image_id = _image_id(docker, f"{repository}@{digest}")
    except (DockerException, RequestException, OSError) as error:
        say(f"no registry has {name} for us: {_last_words(error)}")
        return None
    return BaseImage(
        reference=f"{repository}@{digest}",
        digest=digest,
        origin="registry",
        image_id=image_id or "",
        pulled=True,
    )


def unreachable(docker: Docker, name: str = NAME) -> str:
    """Return why a registry does not have the image for us, "" if it has."""
    from docker.errors import DockerException
    from requests import RequestException

    try:
        client(docker.url, timeout=ANSWER).images.get_registry_data(name)
    except (DockerException, RequestException, OSError) as error:
        return _last_words(error)
    return ""


def _local(docker: Docker, name: str) -> BaseImage | None:
    """Return the image of that very name, where someone pulled or loaded it before."""
    from docker.errors import ImageNotFound

    try:
        image = docker.client.images.get(name)
    except ImageNotFound:
        return None
    digests = [item.partition("@")[2] for item in image.attrs.get("RepoDigests") or []]
    image_id = str(image.id)
    return BaseImage(
        reference=name, digest=(digests or [image_id])[0], origin="registry", image_id=image_id
    )


def _pull(docker: Docker, repository: str, digest: str) -> None:
    import time

    from docker.errors import DockerException

    deadline = time.monotonic() + PULL
    api = client(docker.url, timeout=ANSWER * 2).api
    for event in api.pull(repository, tag=digest, stream=True, decode=True):
        if "error" in event:
            raise DockerException(event["error"])
        if time.monotonic() > deadline:
            message = f"the pull takes longer than {PULL} s"
            raise DockerException(message)


def _last_words(error: Exception) -> str:
    """Return the end of an error's sentence: Docker nests causes to the right."""
    return str(error).rstrip('")\n').rpartition(": ")[2][:120]


def _image_id(docker: Docker, reference: str) -> str | None:
    from docker.errors import ImageNotFound

    try:
        return str(docker.client.images.get(reference).id)
    except ImageNotFound:
        return None


def _path(name: str) -> Path:
    return paths.cache_dir() / "base" / (name.replace("/", "_").replace(":", "_") + ".json")


def _recorded(name: str) -> BaseImage | None:
    try:
        found = BaseImage(**json.loads(_path(name).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.recipe in ("", debian_image.recipe()) else None


def _record(name: str, image: BaseImage) -> None:
    path = _path(name)
    draft = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(asdict(image)))
        draft.replace(path)
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}"
        raise HostError(message, hint="is the disk full?") from error
