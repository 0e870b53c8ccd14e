"""Build a base image from Debian packages with mmdebstrap, reproducibly.

The same packages make the same image with the same id, on every machine and at any time: its name,
its layer and its configuration depend on nothing else. So a name never moves to another image.
"""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio

from ci.engine.store import archive
from ci.errors import HostError
from ci.local import apt, disk_space, paths
from ci.local.container_engine import Docker

Say = Callable[[str], None]
REPOSITORY = "acso/debian-python3"
SUITE = "bookworm"  # the Debian release with Python 3.11
PACKAGES = ("ca-certificates", "python3", "python3-venv")
#: Newer timestamps are set to this one (Debian 12.0): the image does not depend on the time.
EPOCH = 1_686_355_200
#: Bytes of disk for the archive, the unpacked tree and the image, with a margin.
SPACE_NEEDED = 1_000_000_000
#: Environment variables of this process that mmdebstrap gets. Others would reach the programs that
#: it runs in the image: Python, for example, puts compiled modules where PYTHONPYCACHEPREFIX says.
PASSED_ENVIRONMENT = ("PATH", "http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY")
#: Further ones, the same everywhere. Debian's own tools in Python leave no compiled modules.
ENVIRONMENT = {
    "HOME": "/root",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "SOURCE_DATE_EPOCH": str(EPOCH),
}
#: Remove what differs between machines or runs; add the `python` that python:3.11-slim has.
HOOKS = (
    'rm -f "$1"/etc/resolv.conf "$1"/etc/hostname',
    # mmdebstrap's own cleanup leaves folders whose owner depends on the work folder.
    'rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/* "$1"/var/cache/debconf/*-old',
    'find "$1"/var/log -type f -delete',
    'ln -s ../../bin/python3 "$1"/usr/local/bin/python',
)
#: The configuration of python:3.11-slim, as far as it applies.
CONFIGURATION = {
    "Env": ["PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"],
    "Cmd": ["python3"],
    "Labels": {paths.CACHE_LABEL: "1"},
}
#: Architectures of Linux as container images name them.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
HINT = "make a container registry reachable, or load the image: docker load < python.tar"


@dataclass(frozen=True, kw_only=True)
class BuiltImage:
    """An image that was built."""

    reference: str
    digest: str  # of its files and configuration
    image_id: str


async def build(docker: Docker, say: Say, descriptor: int) -> BuiltImage:
    """Build the image and load it into Docker.

    Nothing of an interrupted run is reused, and the image gets its name only when it is complete.

    Args:
        docker: the container engine that needs it.
        say: receives lines of progress.
        descriptor: of the lock. The tools inherit it, so that they keep the lock even if this
            process is killed, and never run twice at the same time.

    Raises:
        HostError: this system cannot build it, no mirror can be reached, or the disk is full.
    """
    await _require_mmdebstrap(say)
    work = paths.cache_dir() / "base" / "work"
    shutil.rmtree(work, ignore_errors=True)
    disk_space.require(work, SPACE_NEEDED, "the base image")
    try:
        work.mkdir(parents=True)
        files = work / "root.tar"
        await _bootstrap(files, say, descriptor)
        say("loading the image")
        return await anyio.to_thread.run_sync(_load, docker, files)
    except OSError as error:
        message = f"the base image cannot be built in {work}: {error.strerror}"
        raise HostError(message, hint=apt.advice([str(error)])) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


async def _require_mmdebstrap(say: Say) -> None:
    """Install mmdebstrap if it is missing.

    Raises:
        HostError: the system is not Debian, the user is not root, or apt failed.
    """
    if "debian" not in apt.system_ids() or "ubuntu" in apt.system_ids():
        message = "no registry can be reached, and only Debian can build a base image without one"
        raise HostError(message, hint=HINT)
    if os.geteuid() != 0:
        message = "no registry can be reached, and building a base image without one needs root"
        raise HostError(message, hint=HINT)
    if shutil.which("mmdebstrap") is None:
        say("installing mmdebstrap")
        await apt.install(["mmdebstrap"], say, failure=HostError)


async def _bootstrap(files: Path, say: Say, descriptor: int) -> None:
    hooks = [f"--customize-hook={hook}" for hook in HOOKS]
    command = [
        # mmdebstrap ends with this process, even if that is killed. Its mounts of /proc, /sys and
        # /dev are in a namespace of its own: the next run must not delete what lies below them.
        *("setpriv", "--pdeathsig", "TERM"),
        *("unshare", "--mount"),
        *(
            "mmdebstrap",
            "--skip=cleanup/apt",
            "--variant=minbase",
            f"--include={','.join(PACKAGES)}",
            *hooks,
        ),
        *(SUITE, str(files)),
    ]
    environ = {name: os.environ[name] for name in PASSED_ENVIRONMENT if name in os.environ}
    environ |= ENVIRONMENT | {"TMPDIR": str(files.parent)}
    code, lines = await apt.run(command, say, environ=environ, keep=[descriptor])
    if code != 0:
        last = "\n".join(f"  {line}" for line in lines[-5:])
        message = f"mmdebstrap could not build the base image; its last lines:\n{last}"
        raise HostError(message, hint=apt.advice(lines) or HINT)


def _load(docker: Docker, files: Path) -> BuiltImage:
    from docker.errors import DockerException

    with files.open("rb") as file:
        layer = hashlib.file_digest(file, "sha256").hexdigest()
    digest = content_id(f"sha256:{layer}")
    name, reason = reference(digest), ""
    config, config_id = image_config(f"sha256:{layer}"), digest.removeprefix("sha256:")
    try:
        chunks = archive.image(config, config_id, name, [(f"sha256:{layer}", files)])
        events = docker.client.api.load_image(chunks)  # type: ignore[no-untyped-call]
        reason = load_error(events)
        image_id = str(docker.client.images.get(name).id)
    except DockerException as error:
        reason = reason or str(error)
        message = f"Docker could not load the base image: {reason}"
        raise HostError(message, hint=apt.advice([reason])) from error
    return BuiltImage(reference=name, digest=digest, image_id=image_id)


def load_error(events: Iterable[Mapping[str, Any]]) -> str:
    """Return the error among the events of a load, "" if there is none; reads all of them."""
    errors = [str(event["error"]) for event in events if "error" in event]
    return errors[0] if errors else ""


def image_config(diff_id: str) -> bytes:
    """Return the configuration of the image with this layer.

    Source of the format: Docker Image Specification v1.2, "Image JSON Field Descriptions".
    """
    created = datetime.fromtimestamp(EPOCH, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    config = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "created": created,
        "config": CONFIGURATION,
        "history": [{"created": created, "created_by": "mmdebstrap"}],
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }
    return json.dumps(config, sort_keys=True).encode()


def recipe() -> str:
    """Return an id of the way in which the image is built; it changes if that changes."""
    text = json.dumps([SUITE, PACKAGES, ENVIRONMENT, HOOKS, CONFIGURATION])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def content_id(diff_id: str) -> str:
    """Return an id of the content of the image: its architecture, files and configuration.

    Args:
        diff_id: the SHA-256 of its layer, not compressed; container engines check it.
    """
    return "sha256:" + hashlib.sha256(image_config(diff_id)).hexdigest()


def reference(digest: str) -> str:
    """Return the name of the image with this content."""
    return f"{REPOSITORY}:{SUITE}-{recipe()}-{digest.removeprefix('sha256:')[:12]}"


def find(docker: Docker) -> BuiltImage | None:
    """Return an image that this recipe built already, for whichever cache; the newest of several.

    An image counts only if its name says what its content is.
    """
    tags = [tag for item in docker.client.images.list(REPOSITORY) for tag in item.tags]
    prefix = f"{REPOSITORY}:{SUITE}-{recipe()}-"
    # Podman's names have a registry: localhost/acso/...
    names = {tag.removeprefix("localhost/") for tag in tags}
    found = [_attrs(docker, name) for name in names if name.startswith(prefix)]
    known = sorted(filter(None, found), key=_tagged, reverse=True)
    return next(filter(None, map(_verified, known)), None)


def _attrs(docker: Docker, name: str) -> dict[str, Any]:
    from docker.errors import ImageNotFound

    try:
        return dict(docker.client.images.get(name).attrs)
    except ImageNotFound:  # removed since the list was made
        return {}


def _tagged(image: Mapping[str, Any]) -> str:
    """Return when an image got its last name here; Podman does not say."""
    return str((image.get("Metadata") or {}).get("LastTagTime"))


def _verified(image: Mapping[str, Any]) -> BuiltImage | None:
    """Return what an image is if its content is the one in its name, else None."""
    layers = image["RootFS"].get("Layers") or []
    config = image.get("Config") or {}
    if len(layers) != 1 or any(config.get(name) != value for name, value in CONFIGURATION.items()):
        return None
    digest = content_id(layers[0])
    tags = {tag.removeprefix("localhost/") for tag in image.get("RepoTags") or []}
    if reference(digest) not in tags:
        return None
    return BuiltImage(reference=reference(digest), digest=digest, image_id=str(image["Id"]))
