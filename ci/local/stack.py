"""Everything that a deployment needs on this machine, at once: started or removed."""

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
    """What runs."""

    docker: container_engine.Docker
    base: base_image.BaseImage
    emulator: embedded_aws.Emulator


@dataclass(frozen=True, kw_only=True)
class Removed:
    """What was removed, each by kind and name."""

    things: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return how many of each kind."""
        kinds = [thing.partition(" ")[0] for thing in self.things]
        counts = [f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)]
        return ", ".join(counts) or "nothing was there"


async def up(say: Say) -> Stack:
    """Start container engine, base image and embedded AWS, as far as they are not there.

    Args:
        say: told each step.

    Raises:
        HostError: one of them cannot be had.
    """
    found = await container_engine.ensure(say)
    made: dict[str, base_image.BaseImage] = {}

    async def prepare_base() -> None:
        made["base"] = await base_image.ensure(found, say)

    async with anyio.create_task_group() as group:
        group.start_soon(prepare_base)
        running = await embedded_aws.ensure(found, say)
    return Stack(docker=found, base=made["base"], emulator=running)


async def down(say: Say, *, cache: bool) -> Removed:
    """Remove this instance's processes, containers, networks and volumes; a second time is fine.

    Args:
        say: told each step.
        cache: images and caches of all instances too, and the container engine if it was started
            here and runs no containers of others.
    """
    found = await container_engine.find()
    async with lock.held(paths.state_dir() / "aws.lock", say):
        known = embedded_aws.recorded()
        things = await embedded_aws.stop(found, say)
        if found is not None:
            things += await anyio.to_thread.run_sync(leftovers.remove_instance, found)
            if known is not None:
                things += await anyio.to_thread.run_sync(
                    leftovers.remove_registry_images, found, known.registry
                )
        shutil.rmtree(paths.state_dir())
    if cache:
        things += await _remove_cache(found, say)
    return Removed(things=tuple(things))


async def _remove_cache(found: container_engine.Docker | None, say: Say) -> list[str]:
    things: list[str] = []
    if found is not None:
        from ci import engine  # late: only needed here

        things += [f"cache {name}" for name in await engine.remove_caches(found.url)]
        things += await anyio.to_thread.run_sync(_remove_images, found)
    if paths.cache_dir().exists():
        shutil.rmtree(paths.cache_dir())
        things.append(f"folder {paths.cache_dir()}")
    others = await anyio.to_thread.run_sync(leftovers.foreign_containers, found) if found else []
    if others and dockerd.running() is not None:
        say(f"dockerd stays: it runs {', '.join(others)}")
    elif await dockerd.stop(say):
        things.append("process dockerd")
    return things


def _remove_images(found: container_engine.Docker) -> list[str]:
    pulled = base_image.pulled_reference()
    removed = leftovers.remove_cache(found)
    if pulled is not None and leftovers.remove_image(found, pulled):
        removed.append(f"image {pulled}")
    return removed
