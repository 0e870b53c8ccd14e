"""The base image of everything built here: pulled from a registry, or built from Debian packages.

If a registry can be reached, it is the image that acso.toml names, at the digest that the name has
there now. Otherwise mmdebstrap builds an image with Debian's Python, under a name of its own, or
an image that it built before for another cache is used. In all cases `digest` identifies its
content and is part of the versions of what is built on it.

Several caches may use one image. Each of them gives it a tag of its own, and it is removed with
the last of these tags. An image stays in use until it is removed or `renew` is asked for.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import anyio

from ci.errors import HostError
from ci.local import debian_image, leftovers, lock, paths
from ci.local.container_engine import Docker, client

Say = Callable[[str], None]
NAME = "python:3.11-slim"
#: Repository of the tags that caches give to the images that they use.
CLAIMS = "acso/base-of"
#: Seconds until a registry counts as unreachable, and seconds that a pull (50 MB) may take.
ANSWER_TIMEOUT, PULL_TIMEOUT = 8, 120


@dataclass(frozen=True, kw_only=True)
class BaseImage:
    """An image with `python3`, its venv module and CA certificates."""

    reference: str  # its name in this container engine
    digest: str  # of its content
    origin: Literal["registry", "debian"]
    image_id: str = ""  # Docker's id, to notice if the reference now names another image
    pulled: bool = False  # pulled by us, so `down --cache` removes it
    recipe: str = ""  # id of the recipe it was built with; "" if it was not built here

    @property
    def ours(self) -> bool:
        """Whether acso pulled or built it, for this or for another cache."""
        return self.pulled or self.origin == "debian"


async def ensure(docker: Docker, say: Say, *, name: str = NAME, renew: bool = False) -> BaseImage:
    """Return the base image; pull or build it if it does not exist yet.

    Args:
        docker: the container engine that needs it.
        say: receives lines of progress.
        name: its name in a registry.
        renew: pull or build it in any case, with what is published now.

    Raises:
        HostError: no registry answers and it cannot be built here either.
    """
    found = None if renew else await current(docker, name)
    if found is not None:
        return found
    async with lock.held(paths.cache_dir() / "base.lock", say) as descriptor:
        found = None if renew else await current(docker, name)
        if found is None:
            before = _read(_path(name))  # also one of an earlier recipe
            found = await _create(docker, say, name, descriptor, renew=renew)
            if found.ours:
                await anyio.to_thread.run_sync(_claim, docker, found)
            _record(name, found)
            if before is not None and before.reference != found.reference:
                await anyio.to_thread.run_sync(release, docker, before)
    return found


async def current(docker: Docker, name: str = NAME) -> BaseImage | None:
    """Return the base image if it exists already, else None; changes nothing."""
    found = _recorded(name)
    if found is None:
        return None
    image_id = await anyio.to_thread.run_sync(_image_id, docker, found.reference)
    return found if image_id == found.image_id else None


def recorded() -> list[BaseImage]:
    """Return the base images that this cache uses."""
    records = sorted(_path(NAME).parent.glob("*.json"))
    return [image for path in records if (image := _read(path))]


def release(docker: Docker, image: BaseImage) -> list[str]:
    """Remove this cache's tag of a base image, and the image unless another cache uses it.

    An image that acso neither pulled nor built is kept. Return the names removed.
    """
    if not image.ours:
        return []
    names = [_claim_name(image)]
    attrs = _attrs(docker, image.reference) or {}
    others = {tag.removeprefix("localhost/") for tag in attrs.get("RepoTags") or []} - set(names)
    if not any(tag.startswith(f"{CLAIMS}:") for tag in others):
        names.append(image.reference)
    return [name for name in names if leftovers.remove_image(docker, name)]


def _claim(docker: Docker, image: BaseImage) -> None:
    """Give a base image this cache's tag."""
    repository, _, tag = _claim_name(image).partition(":")
    docker.client.api.tag(image.reference, repository, tag)


def _claim_name(image: BaseImage) -> str:
    return f"{CLAIMS}:{paths.cache_id()}-{image.digest.removeprefix('sha256:')[:12]}"


async def _create(
    docker: Docker, say: Say, name: str, descriptor: int, *, renew: bool
) -> BaseImage:
    found = await anyio.to_thread.run_sync(_from_registry, docker, name, say, renew)
    if found is not None:
        return found
    built = None if renew else await anyio.to_thread.run_sync(debian_image.find, docker)
    if built is None:
        say(f"{name} cannot be pulled: building a base image from Debian packages instead")
        built = await debian_image.build(docker, say, descriptor)
    else:
        say(f"{name} cannot be pulled: using {built.reference}, which exists")
    return BaseImage(
        reference=built.reference,
        digest=built.digest,
        origin="debian",
        image_id=built.image_id,
        recipe=debian_image.recipe(),
    )


def _from_registry(docker: Docker, name: str, say: Say, renew: bool) -> BaseImage | None:
    from docker.errors import DockerException
    from docker.utils import parse_repository_tag
    from requests import RequestException

    local = _find_local(docker, name)
    if local is not None and not renew:
        return local
    try:
        digest = str(client(docker.url, timeout=ANSWER_TIMEOUT).images.get_registry_data(name).id)
        repository, _ = parse_repository_tag(name)
        say(f"pulling {name} ({digest[:19]})")
        _pull(docker, repository, digest)
        image_id = _image_id(docker, f"{repository}@{digest}")
    except (DockerException, RequestException, OSError) as error:
        say(f"{name} is not available from a registry: {_cause(error)}")
        return local
    return BaseImage(
        reference=f"{repository}@{digest}",
        digest=digest,
        origin="registry",
        image_id=image_id or "",
        pulled=True,
    )


def unreachable(docker: Docker, name: str = NAME) -> str:
    """Return why the image cannot be had from a registry, "" if it can."""
    from docker.errors import DockerException
    from requests import RequestException

    try:
        client(docker.url, timeout=ANSWER_TIMEOUT).images.get_registry_data(name)
    except (DockerException, RequestException, OSError) as error:
        return _cause(error)
    return ""


def _find_local(docker: Docker, name: str) -> BaseImage | None:
    """Return the image with this name if it was pulled or loaded here before."""
    attrs = _attrs(docker, name)
    if attrs is None:
        return None
    digests = [item.partition("@")[2] for item in attrs.get("RepoDigests") or []]
    image_id = str(attrs["Id"])
    return BaseImage(
        reference=name, digest=(digests or [image_id])[0], origin="registry", image_id=image_id
    )


def _pull(docker: Docker, repository: str, digest: str) -> None:
    import time

    from docker.errors import DockerException

    deadline = time.monotonic() + PULL_TIMEOUT
    api = client(docker.url, timeout=ANSWER_TIMEOUT * 2).api
    for event in api.pull(repository, tag=digest, stream=True, decode=True):
        if "error" in event:
            raise DockerException(event["error"])
        if time.monotonic() > deadline:
            message = f"the pull takes more than {PULL_TIMEOUT} s"
            raise DockerException(message)


def _cause(error: Exception) -> str:
    """Return the last part of an error's message, where Docker puts the cause."""
    return str(error).rstrip('")\n').rpartition(": ")[2][:120]


def _image_id(docker: Docker, reference: str) -> str | None:
    attrs = _attrs(docker, reference)
    return None if attrs is None else str(attrs["Id"])


def _attrs(docker: Docker, reference: str) -> dict[str, Any] | None:
    from docker.errors import ImageNotFound

    try:
        found: dict[str, Any] = docker.client.images.get(reference).attrs
    except ImageNotFound:
        return None
    return found


def _path(name: str) -> Path:
    return paths.cache_dir() / "base" / (name.replace("/", "_").replace(":", "_") + ".json")


def _recorded(name: str) -> BaseImage | None:
    found = _read(_path(name))
    return found if found and found.recipe in ("", debian_image.recipe()) else None


def _read(path: Path) -> BaseImage | None:
    try:
        return BaseImage(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _record(name: str, image: BaseImage) -> None:
    path = _path(name)
    draft = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(asdict(image)))
        draft.replace(path)
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        hint = "free some space there, or choose another folder: XDG_CACHE_HOME"
        raise HostError(message, hint=hint) from error
