"""Build a base image from Debian packages with mmdebstrap, reproducibly."""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio

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
#: Remove what differs between machines or runs; add the `python` that python:3.11-slim has.
HOOKS = (
    'rm -f "$1"/etc/resolv.conf "$1"/etc/hostname',
    # mmdebstrap's own cleanup leaves folders whose owner depends on the work folder.
    'rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/* "$1"/var/cache/debconf/*-old',
    'find "$1"/var/log -type f -delete',
    'ln -s ../../bin/python3 "$1"/usr/local/bin/python',
)
#: The configuration of python:3.11-slim, as far as it applies.
CONFIGURATION = (
    "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
    "ENV LANG=C.UTF-8",
    f"LABEL {paths.CACHE_LABEL}=1",
    'CMD ["python3"]',
)
HINT = "make a container registry reachable, or load the image: docker load < python.tar"


@dataclass(frozen=True, kw_only=True)
class BuiltImage:
    """An image that was built."""

    reference: str
    digest: str  # of its files and configuration
    image_id: str


async def build(docker: Docker, say: Say, descriptor: int) -> BuiltImage:
    """Build the image and import it into Docker.

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
        archive = work / "root.tar"
        await _bootstrap(archive, say, descriptor)
        say("importing the image")
        return await anyio.to_thread.run_sync(_import, docker, archive)
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


async def _bootstrap(archive: Path, say: Say, descriptor: int) -> None:
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
        *(SUITE, str(archive)),
    ]
    environ = {"SOURCE_DATE_EPOCH": str(EPOCH), "TMPDIR": str(archive.parent)}
    code, lines = await apt.run(command, say, environ=environ, keep=[descriptor])
    if code != 0:
        last = "\n".join(f"  {line}" for line in lines[-5:])
        message = f"mmdebstrap could not build the base image; its last lines:\n{last}"
        raise HostError(message, hint=apt.advice(lines) or HINT)


def _import(docker: Docker, archive: Path) -> BuiltImage:
    from docker.errors import DockerException

    digest = content_id(archive)
    answer: object = ""
    # The tag is part of the name because Podman ignores a separate one.
    name = f"{REPOSITORY}:{SUITE}-{digest.removeprefix('sha256:')[:12]}"
    try:
        answer = docker.client.api.import_image(
            str(archive), repository=name, changes=list(CONFIGURATION)
        )
        image_id = str(docker.client.images.get(name).id)
    except DockerException as error:
        reason = import_error(str(answer)) or str(error)
        message = f"Docker could not import the base image: {reason}"
        raise HostError(message, hint=apt.advice([reason])) from error
    return BuiltImage(reference=name, digest=digest, image_id=image_id)


def import_error(answer: str) -> str:
    """Return the error in Docker's progress events (one JSON object per line), "" if none."""
    events = [json.loads(line) for line in answer.splitlines() if line.startswith("{")]
    return next((str(event["error"]) for event in events if "error" in event), "")


def recipe() -> str:
    """Return an id of the way in which the image is built; it changes if that changes."""
    text = json.dumps([SUITE, PACKAGES, EPOCH, HOOKS, CONFIGURATION])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def content_id(archive: Path) -> str:
    """Return an id of the content of the image: its architecture, files and configuration."""
    with archive.open("rb") as file:
        files = hashlib.file_digest(file, "sha256").hexdigest()
    text = json.dumps([platform.machine(), files, CONFIGURATION])
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
