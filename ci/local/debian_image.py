"""A base image made of Debian's packages by mmdebstrap, the same from the same packages."""

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
#: Newer timestamps are set to this one (its first release), so that none tells when it was made.
EPOCH = 1_686_355_200
#: Archive, tree and image, with some room.
SIZE = 1_000_000_000
#: What differs between machines or runs and nobody needs, and what python:3.11-slim has besides.
HOOKS = (
    'rm -f "$1"/etc/resolv.conf "$1"/etc/hostname',
    # Not left to mmdebstrap: whose the folders in there are depends on the place of the work.
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
class Made:
    """An image that was made."""

    reference: str
    digest: str  # of its files and configuration
    image_id: str


async def build(docker: Docker, say: Say, descriptor: int) -> Made:
    """Make the image and give it to Docker.

    Nothing of an interrupted run is used: the archive is begun anew, and the image has its name
    only when it is whole.

    Args:
        docker: where it is needed.
        say: told the steps.
        descriptor: of a lock that the tools inherit, so that they are never at it twice.

    Raises:
        HostError: this machine cannot, a mirror cannot be reached, the disk is full.
    """
    await _tool(say)
    work = paths.cache_dir() / "base" / "work"
    shutil.rmtree(work, ignore_errors=True)
    disk_space.require(work, SIZE, "the base image")
    try:
        work.mkdir(parents=True)
        archive = work / "root.tar"
        await _bootstrap(archive, say, descriptor)
        say("importing the image")
        return await anyio.to_thread.run_sync(_imported, docker, archive)
    except OSError as error:
        message = f"the base image cannot be made in {work}: {error.strerror}"
        raise HostError(message, hint=apt.advice([str(error)])) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


async def _tool(say: Say) -> None:
    """Make sure of mmdebstrap.

    Raises:
        HostError: this is no Debian, or not root, or apt fails.
    """
    if "debian" not in apt.system() or "ubuntu" in apt.system():
        message = "no registry can be reached, and a base image can be made on Debian only"
        raise HostError(message, hint=HINT)
    if os.geteuid() != 0:
        message = "no registry can be reached, and making a base image needs root"
        raise HostError(message, hint=HINT)
    if shutil.which("mmdebstrap") is None:
        say("installing mmdebstrap")
        await apt.install(["mmdebstrap"], say, failure=HostError)


async def _bootstrap(archive: Path, say: Say, descriptor: int) -> None:
    hooks = [f"--customize-hook={hook}" for hook in HOOKS]
    command = [
        *("setpriv", "--pdeathsig", "TERM"),  # it ends with this process, even a killed one
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
        message = f"mmdebstrap could not make the base image:\n{last}"
        raise HostError(message, hint=apt.advice(lines) or HINT)


def _imported(docker: Docker, archive: Path) -> Made:
    from docker.errors import DockerException

    digest = content_id(archive)
    answer: object = ""
    # With its tag in the name: Podman overlooks one that is given beside it.
    name = f"{REPOSITORY}:{SUITE}-{digest.removeprefix('sha256:')[:12]}"
    try:
        answer = docker.client.api.import_image(
            str(archive), repository=name, changes=list(CONFIGURATION)
        )
        image_id = str(docker.client.images.get(name).id)
    except DockerException as error:
        said = refusal(str(answer)) or str(error)
        message = f"Docker did not take the base image: {said}"
        raise HostError(message, hint=apt.advice([said])) from error
    return Made(reference=name, digest=digest, image_id=image_id)


def refusal(answer: str) -> str:
    """Return the error among Docker's progress events, one a line, "" if there is none."""
    events = [json.loads(line) for line in answer.splitlines() if line.startswith("{")]
    return next((str(event["error"]) for event in events if "error" in event), "")


def recipe() -> str:
    """Return the id of how the image is made: one made otherwise is not this one."""
    whole = json.dumps([SUITE, PACKAGES, EPOCH, HOOKS, CONFIGURATION])
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def content_id(archive: Path) -> str:
    """Return the id of what an image of this archive holds: its files and configuration."""
    with archive.open("rb") as file:
        files = hashlib.file_digest(file, "sha256").hexdigest()
    whole = json.dumps([platform.machine(), files, CONFIGURATION])
    return "sha256:" + hashlib.sha256(whole.encode()).hexdigest()
