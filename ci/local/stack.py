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


async def up(say: Say, *, base: str = base_image.NAME) -> Stack:
    """Start the container engine and embedded AWS and get the base image, as far as missing.

    Args:
        say: receives lines of progress.
        base: name of the base image, as acso.toml has it.

    Raises:
        HostError: one of them cannot be started or created.
    """
    found = await container_engine.ensure(say)
    images: dict[str, base_image.BaseImage] = {}

    async def prepare_base() -> None:
        images["base"] = await base_image.ensure(found, say, name=base)

    async with anyio.create_task_group() as group:
        group.start_soon(prepare_base)
        running = await embedded_aws.ensure(found, say)
    return Stack(docker=found, base=images["base"], emulator=running)


async def down(say: Say, *, cache: bool) -> Removed:
    """Remove this instance's processes, containers, networks and volumes, if there are any.

    Args:
        say: receives lines of progress.
        cache: also remove images and caches of all instances, and stop the container engine if it
            was started here and runs no other containers.
    """
    found = await container_engine.find()
    async with lock.held(paths.state_dir() / "aws.lock", say):
        known = embedded_aws.recorded()
        items = await embedded_aws.stop(found, say)
        if found is not None:
            items += await anyio.to_thread.run_sync(leftovers.remove_instance, found)
            if known is not None:
                items += await anyio.to_thread.run_sync(
                    leftovers.remove_registry_images, found, known.registry
                )
        shutil.rmtree(paths.state_dir())
    if cache:
        items += await _remove_cache(found, say)
    return Removed(items=tuple(items))


async def _remove_cache(found: container_engine.Docker | None, say: Say) -> list[str]:
    items: list[str] = []
    if found is not None:
        from ci import engine  # late: only needed here

        items += [f"cache {name}" for name in await engine.remove_caches(found.url)]
        items += await anyio.to_thread.run_sync(_remove_images, found)
    if paths.cache_dir().exists():
        shutil.rmtree(paths.cache_dir())
        items.append(f"folder {paths.cache_dir()}")
    others = await anyio.to_thread.run_sync(leftovers.foreign_containers, found) if found else []
    if others and dockerd.running() is not None:
        say(f"dockerd is kept: it runs other containers ({', '.join(others)})")
    elif await dockerd.stop(say):
        items.append("process dockerd")
    return items


def _remove_images(found: container_engine.Docker) -> list[str]:
    pulled = base_image.pulled_references()
    removed = leftovers.remove_cache(found)
    return removed + [f"image {name}" for name in pulled if leftovers.remove_image(found, name)]
