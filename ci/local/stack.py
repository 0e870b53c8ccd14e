"""Start or remove everything that a deployment needs on this machine."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from ci.local import base_image, container_engine, dockerd, embedded_aws, leftovers, lock, paths
from ci.local.doctor import Finding, doctor

__all__ = ["Finding", "Removed", "Stack", "doctor", "down", "up"]

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A local stack that is running."""

    docker: container_engine.Docker
    base: base_image.BaseImage
    emulator: embedded_aws.Emulator


@dataclass(frozen=True, kw_only=True)
class Removed:
    """What was removed: a kind and a name each."""

    items: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the number of each kind."""
        kinds = [thing.partition(" ")[0] for thing in self.items]
        counts = [f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)]
        return ", ".join(counts) or "nothing to remove"


async def up(say: Say, *, base: str = base_image.NAME, renew: bool = False) -> Stack:
    """Start the container engine and embedded AWS and get the base image, as far as missing.

    Args:
        say: receives lines of progress.
        base: name of the base image, as acso.toml has it.
        renew: pull or build the base image even if it exists.

    Raises:
        HostError: one of them cannot be started or created.
    """
    found = await container_engine.ensure(say)
    images: dict[str, base_image.BaseImage] = {}

    async def prepare_base() -> None:
        images["base"] = await base_image.ensure(found, say, name=base, renew=renew)

    async with anyio.create_task_group() as group:
        group.start_soon(prepare_base)
        running = await embedded_aws.ensure(found, say)
    return Stack(docker=found, base=images["base"], emulator=running)


async def down(say: Say, *, cache: bool) -> Removed:
    """Remove this instance's processes, containers, networks and volumes, if there are any.

    Args:
        say: receives lines of progress.
        cache: also remove the images and caches of this cache folder, and stop the container
            engine if it was started here and runs no other containers.
    """
    found = await container_engine.find()
    async with lock.held(paths.state_dir() / "aws.lock", say):
        known = embedded_aws.recorded()
        items = await embedded_aws.stop(found, say)
        if found is not None:
            items += await anyio.to_thread.run_sync(_remove_instance, found, known)
            if sessions := await anyio.to_thread.run_sync(leftovers.running_sessions, found):
                say(f"containers of running commands are kept ({len(sessions)} of this instance)")
        shutil.rmtree(paths.state_dir())
    if cache:
        items += await _remove_cache(found, say)
    return Removed(items=tuple(items))


def _remove_instance(
    docker: container_engine.Docker, known: embedded_aws.Emulator | None
) -> list[str]:
    removed = leftovers.remove_instance(docker)
    # If something answers at its port, that is the registry of another instance now.
    if known is None or embedded_aws.identity(known.port):
        return removed
    return removed + leftovers.remove_registry_images(docker, known.registry)


async def _remove_cache(found: container_engine.Docker | None, say: Say) -> list[str]:
    items: list[str] = []
    if found is not None:
        from ci.engine import Options, prune  # late: only needed here

        engine = Options(cache_dir=paths.cache_dir() / "engine", docker=found.url)
        if engine.cache_dir.exists():
            items += [f"cache {name}" for name in await prune.remove_from_daemon(engine)]
        items += await anyio.to_thread.run_sync(_remove_base_images, found)
    if paths.cache_dir().exists():
        shutil.rmtree(paths.cache_dir())
        items.append(f"folder {paths.cache_dir()}")
    others = await anyio.to_thread.run_sync(leftovers.running_containers, found) if found else []
    if others and dockerd.running() is not None:
        say(f"dockerd is kept: it runs other containers ({', '.join(others)})")
    elif await dockerd.stop(say):
        items.append("process dockerd")
    return items


def _remove_base_images(found: container_engine.Docker) -> list[str]:
    images = base_image.recorded()
    return [f"image {name}" for image in images for name in base_image.release(found, image)]
