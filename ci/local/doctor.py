"""What a deployment needs of this machine, looked at and not touched."""

import os
import shutil
import sys
import sysconfig
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import anyio

from ci.errors import ContainerEngineError
from ci.local import base_image, container_engine, disk_space, dockerd, embedded_aws, paths

ROOM = 3_000_000_000  # bytes: base image, images of the agents, tools of the quality gates
#: Seconds for a look at a network.
PATIENCE = 8


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a deployment needs."""

    name: str
    state: Literal["ok", "missing", "broken"]  # missing: `up` makes it; broken: a person has to act
    detail: str
    fix: str = ""


async def doctor() -> list[Finding]:
    """Return the state of everything that a deployment needs here; nothing is changed."""
    found = await container_engine.find()
    looks: list[Callable[[], Awaitable[Finding]]] = [
        _python,
        partial(_engine, found),
        partial(_base, found),
        partial(_aws, found),
        partial(_registry, found),
        _index,
        partial(_space, found),
    ]
    findings: dict[int, Finding] = {}

    async def look(place: int, at: Callable[[], Awaitable[Finding]]) -> None:
        findings[place] = await at()

    async with anyio.create_task_group() as group:
        for place, at in enumerate(looks):
            group.start_soon(look, place, at)
    return [findings[place] for place in sorted(findings)]


async def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding(name="Python", state="ok", detail=f"{version} at {sys.executable}")


async def _engine(found: container_engine.Docker | None) -> Finding:
    name = "container engine"
    if found is not None:
        where = found.url or os.environ.get("DOCKER_HOST", "")
        ours = ", started by acso" if found.started_by_us else ""
        return Finding(name=name, state="ok", detail=f"{found.version} at {where}{ours}")
    try:
        container_engine.refuse_another_engine()
        dockerd.refuse_if_not_startable()
    except ContainerEngineError as error:
        return Finding(name=name, state="broken", detail=str(error), fix=error.hint)
    return Finding(name=name, state="missing", detail="none answers", fix="./acso up starts one")


async def _base(found: container_engine.Docker | None) -> Finding:
    name = "base image"
    image = await base_image.current(found) if found else None
    if image is not None:
        return Finding(name=name, state="ok", detail=f"{image.reference} (from {image.origin})")
    return Finding(
        name=name, state="missing", detail="not here yet", fix="./acso up gets or makes it"
    )


async def _aws(found: container_engine.Docker | None) -> Finding:
    name = "embedded AWS"
    running = await embedded_aws.find() if found else None
    if running is None or found is None:
        dead = embedded_aws.recorded()
        detail = "does not run" if dead is None else f"ended; its log: {embedded_aws.log_file()}"
        return Finding(name=name, state="missing", detail=detail, fix="./acso up starts it")
    said, there = await anyio.to_thread.run_sync(_tasks, found, running.port)
    if said - there:
        detail = f"calls {len(said - there)} tasks RUNNING whose containers do not run"
        return Finding(name=name, state="broken", detail=detail, fix="./acso down, then ./acso up")
    detail = f"{running.endpoint}, {len(said)} tasks in containers that run"
    return Finding(name=name, state="ok", detail=detail)


def _tasks(found: container_engine.Docker, port: int) -> tuple[set[str], set[str]]:
    """Return the containers that the embedded AWS believes in, and those that really run."""
    said = set(embedded_aws.identity(port).get("containers", []))
    return said, {str(item.id) for item in found.client.containers.list(sparse=True)}


async def _registry(found: container_engine.Docker | None) -> Finding:
    name = "container registry"
    if found is None:
        return Finding(name=name, state="missing", detail="no container engine to ask it")
    why = await anyio.to_thread.run_sync(base_image.unreachable, found)
    if not why:
        return Finding(name=name, state="ok", detail=f"has {base_image.NAME}")
    detail = f"{why}: the base image is made of Debian's packages"
    return Finding(name=name, state="missing", detail=detail)


async def _index() -> Finding:
    """Ask the package index for one package, by the very tool that installs the others."""
    name = "package index"
    try:
        with anyio.fail_after(PATIENCE):
            done = await anyio.run_process(_question(), input=b"anyio", check=False, cwd="/")
    except TimeoutError:
        why = f"no answer within {PATIENCE} s"
    else:
        if done.returncode == 0:
            return Finding(name=name, state="ok", detail="answers")
        why = (done.stderr.decode(errors="replace").strip().splitlines() or ["fails"])[-1].strip()
    fix = "look at the network, HTTPS_PROXY, SSL_CERT_FILE, UV_DEFAULT_INDEX"
    return Finding(name=name, state="broken", detail=why, fix=fix)


def _question() -> list[str]:
    """Return the command that asks for the package that stands in its input."""
    uv = shutil.which("uv") or str(Path(sysconfig.get_path("scripts")) / "uv")
    if Path(uv).exists():
        return [uv, "pip", "compile", "--quiet", "--no-cache", "--no-deps", "--no-header", "-"]
    return [sys.executable, "-m", "pip", "--quiet", "index", "versions", "anyio"]


async def _space(found: container_engine.Docker | None) -> Finding:
    places = {paths.cache_dir()}
    if found is not None:
        root = await anyio.to_thread.run_sync(_docker_root, found)
        places |= {root} if root.exists() else set()  # elsewhere if the engine is remote
    least = min(places, key=disk_space.free)
    detail = f"{disk_space.text(disk_space.free(least))} free at {least}"
    if disk_space.free(least) >= ROOM:
        return Finding(name="disk space", state="ok", detail=detail)
    return Finding(
        name="disk space", state="broken", detail=detail, fix=f"make room: {disk_space.text(ROOM)}"
    )


def _docker_root(found: container_engine.Docker) -> Path:
    return Path(found.client.info().get("DockerRootDir", "/"))
