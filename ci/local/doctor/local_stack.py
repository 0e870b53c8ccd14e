"""The container engine, the base image, the embedded AWS, and where packages come from."""

import os
import shutil
import sys
import sysconfig
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio

from ci.errors import ContainerEngineError
from ci.local import base_image, container_engine, disk_space, dockerd, embedded_aws, paths
from ci.local.doctor.findings import Finding

SPACE_NEEDED = 3_000_000_000  # bytes: base image, agents' images, tools of the quality gates
TIMEOUT = 8  # seconds for the package index to answer


async def findings(base: str) -> list[Finding]:
    """Return the state of the local stack and of its sources.

    Args:
        base: name of the base image, as acso.toml has it.
    """
    found = await container_engine.find()
    checks: list[Callable[[], Awaitable[Finding]]] = [
        partial(_engine, found),
        partial(_cgroups, found),
        partial(_base, found, base),
        partial(_aws, found),
        partial(_registry, found, base),
        _index,
        partial(_space, found),
    ]
    done: dict[int, Finding] = {}

    async def run(index: int, check: Callable[[], Awaitable[Finding]]) -> None:
        done[index] = await check()

    async with anyio.create_task_group() as group:
        for index, check in enumerate(checks):
            group.start_soon(run, index, check)
    return [done[index] for index in sorted(done)]


async def _engine(found: container_engine.Docker | None) -> Finding:
    name = "container engine"
    if found is not None:
        where = found.url or os.environ.get("DOCKER_HOST", "")
        if found.refusal:
            fix = container_engine.UPGRADE
            return Finding(name=name, state="broken", detail=found.refusal, fix=fix)
        ours = ", started by acso" if found.started_by_us else ""
        detail = "; ".join([f"{found.version} at {where}{ours}", *found.limitations])
        return Finding(name=name, state="ok", detail=detail)
    try:
        container_engine.refuse_unusable_engine()
        dockerd.refuse_if_not_startable()
    except ContainerEngineError as error:
        return Finding(name=name, state="broken", detail=str(error), fix=error.hint)
    return Finding(name=name, state="missing", detail="none answers", fix="start one: ./acso up")


async def _cgroups(found: container_engine.Docker | None) -> Finding:
    name = "control groups"
    if found is None:
        return Finding(name=name, state="missing", detail="not checked: needs a container engine")
    info = await anyio.to_thread.run_sync(found.client.info)
    detail = f"v{info.get('CgroupVersion', '1')}, managed by {info.get('CgroupDriver', 'cgroupfs')}"
    if info.get("MemoryLimit") is False:
        fix = "enable the memory controller of this machine's control groups"
        return Finding(name=name, state="missing", detail=f"{detail}, no memory limits", fix=fix)
    return Finding(name=name, state="ok", detail=detail)


async def _base(found: container_engine.Docker | None, base: str) -> Finding:
    name = "base image"
    image = await base_image.current(found, base) if found else None
    if image is not None:
        return Finding(name=name, state="ok", detail=f"{image.reference} (from {image.origin})")
    return Finding(
        name=name, state="missing", detail="not created yet", fix="pull or build it: ./acso up"
    )


async def _aws(found: container_engine.Docker | None) -> Finding:
    name = "embedded AWS"
    running = await embedded_aws.find() if found else None
    if running is None or found is None:
        ended = embedded_aws.recorded()
        log = f"has ended; see its log: {embedded_aws.log_file()}"
        detail = "not running" if ended is None else log
        return Finding(name=name, state="missing", detail=detail, fix="start it: ./acso up")
    reported, running_here = await anyio.to_thread.run_sync(_tasks, found, running.port)
    if lost := reported - running_here:
        detail = f"reports tasks as RUNNING, but {len(lost)} of their containers do not run"
        return Finding(name=name, state="broken", detail=detail, fix="./acso down, then ./acso up")
    detail = f"{running.endpoint}, containers of tasks running: {len(reported)}"
    return Finding(name=name, state="ok", detail=detail)


def _tasks(found: container_engine.Docker, port: int) -> tuple[set[str], set[str]]:
    """Return the ids of the containers that the embedded AWS reports, and of all that run."""
    reported = set(embedded_aws.identity(port).get("containers", []))
    return reported, {str(item.id) for item in found.client.containers.list(sparse=True)}


async def _registry(found: container_engine.Docker | None, base: str) -> Finding:
    name = "container registry"
    if found is None:
        return Finding(name=name, state="missing", detail="not checked: needs a container engine")
    reason = await anyio.to_thread.run_sync(base_image.unreachable, found, base)
    if not reason:
        return Finding(name=name, state="ok", detail=f"has {base}")
    detail = f"{reason}: the base image is built from Debian packages instead"
    return Finding(name=name, state="missing", detail=detail)


async def _index() -> Finding:
    """Ask the package index for one package, with the tool that installs all packages."""
    name = "package index"
    try:
        with anyio.fail_after(TIMEOUT):
            done = await anyio.run_process(_index_command(), input=b"anyio", check=False, cwd="/")
    except TimeoutError:
        reason = f"no answer within {TIMEOUT} s"
    else:
        if done.returncode == 0:
            return Finding(name=name, state="ok", detail="answers")
        reason = (done.stderr.decode(errors="replace").strip().splitlines() or ["fails"])[
            -1
        ].strip()
    fix = "check the network, HTTPS_PROXY, SSL_CERT_FILE and UV_DEFAULT_INDEX"
    return Finding(name=name, state="broken", detail=reason, fix=fix)


def _index_command() -> list[str]:
    """Return a command that asks for the package named on its standard input."""
    uv = shutil.which("uv") or str(Path(sysconfig.get_path("scripts")) / "uv")
    if Path(uv).exists():
        return [uv, "pip", "compile", "--quiet", "--no-cache", "--no-deps", "--no-header", "-"]
    return [sys.executable, "-m", "pip", "--quiet", "index", "versions", "anyio"]


async def _space(found: container_engine.Docker | None) -> Finding:
    folders = {paths.cache_dir()}
    if found is not None:
        root = await anyio.to_thread.run_sync(_docker_root, found)
        folders |= {root} if root.exists() else set()  # it does not if the engine is remote
    least = min(folders, key=disk_space.free)
    detail = f"{disk_space.format_size(disk_space.free(least))} free at {least}"
    if disk_space.free(least) >= SPACE_NEEDED:
        return Finding(name="disk space", state="ok", detail=detail)
    fix = f"free some space: {disk_space.format_size(SPACE_NEEDED)} are needed"
    return Finding(name="disk space", state="broken", detail=detail, fix=fix)


def _docker_root(found: container_engine.Docker) -> Path:
    return Path(found.client.info().get("DockerRootDir", "/"))
