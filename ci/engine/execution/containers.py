"""Containers of steps and services with their mounts: created, filled, read, removed.

Mounted content is in volumes that belong to one container. They are filled and read through a
second container that never starts (the "filler"): putting files into the container itself would
leave the mount points in its layer. Secrets are in a volume in memory, which a third container
that runs keeps mounted (the "keeper"). Single files are binds of a file inside such a volume, by
the daemon's own path: no path of this host is assumed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio

from ci.common import locks
from ci.common.certificates import CA_PATH
from ci.engine.docker.docker_api import CACHE, IDLE, LABEL, STORE, Daemon, DaemonError
from ci.engine.docker.listing import Listing
from ci.engine.files.rootfs import State
from ci.engine.options import Options
from ci.engine.store import archive
from ci.engine.store.cache import Store, key_of
from ci.engine.store.tree import FILE, FOLDER, Entry, Tree, with_file
from ci.engine.values import Mount

#: Where the filler mounts the volumes.
FILLER_ROOT = "/v"
#: A command changed every file that is newer than this one.
MARK = "/dev/acso/mark"
FILES = "files"
#: A volume in memory (tmpfs).
MEMORY = {"type": "tmpfs", "device": "tmpfs", "o": "mode=0700"}
#: What Docker reports if an image does not have the program of a container.
NOT_STARTED = "unable to start container process"
#: Seconds that removing one container may take.
REMOVE_TIMEOUT = 10


@dataclass(kw_only=True)
class StepContainer:
    """A container and what belongs to it."""

    id: str
    image: str
    filler: str = ""
    keeper: str = ""  # runs, which keeps the memory that holds the secrets mounted
    filler_paths: dict[str, str] = field(default_factory=dict)  # by mount path
    volumes: list[str] = field(default_factory=list)
    reused: bool = False  # it idled before this command, and may have been removed meanwhile
    dedicated: bool = False  # its own process is the one command that it runs
    start_seconds: float = 0.0  # that its creation and start took
    mark_valid: bool = True  # MARK is newer than the mounted content
    mount_points: list[list[str]] = field(default_factory=list)  # see `ExecResult.mount_points`
    files_added: bool = False  # files were put into it, so its mount points are in its layer
    state: State = field(default_factory=State)  # its files, as the engine knows them
    listing: Listing | None = None  # None: what a command changes in it cannot be listed


@dataclass(frozen=True, kw_only=True)
class MountContent:
    """A mount with its content at the creation of a container."""

    mount: Mount
    tree: Tree | None = None  # of a directory or file
    data: bytes = b""  # of a secret
    owner: tuple[int, int] = (0, 0)  # of a secret
    volume: str = ""  # of a cache


class StepContainers:
    """Creates and removes the containers of commands and services."""

    def __init__(self, options: Options, store: Store, daemon: Daemon) -> None:
        self._options = options
        self._store = store
        self._daemon = daemon
        self._idling_image = ""  # one in which a container has idled
        self._ca: dict[str, Any] | None = None
        self._ca_lock = anyio.Lock()

    async def create(
        self,
        image: str,
        contents: list[MountContent],
        hosts: Mapping[str, str],
        command: list[str] | None = None,
        **settings: Any,
    ) -> StepContainer:
        """Create a container that is not yet started; without a command it idles."""
        container = StepContainer(id="", image=image)
        try:
            specs = await self._mounts(container, contents)
            specs += await self._ca_mount(image)
            host = {"mounts": specs, "extra_hosts": dict(hosts), **settings.pop("host", {})}
            container.id = await self._daemon.create(image, command or IDLE, host=host, **settings)
        except BaseException:
            await self.drop(container)
            raise
        return container

    async def drop(self, container: StepContainer) -> None:
        """Remove a container that is not needed any more, even if the caller is cancelled.

        What cannot be removed now is removed at the end of the session or by the next one.
        """
        with anyio.move_on_after(REMOVE_TIMEOUT, shield=True):
            try:
                await self.remove(container)
            except DaemonError as error:
                self._options.log(f"container {container.id[:12]} cannot be removed yet: {error}")

    async def remove(self, container: StepContainer) -> None:
        """Remove a container, its filler, its keeper and their volumes."""
        for each in filter(None, (container.id, container.filler, container.keeper)):
            await self._daemon.remove(each)
        for volume in container.volumes:
            await self._daemon.try_remove(self._daemon.client.remove_volume, volume, force=True)

    async def content(self, container: StepContainer, mount: Mount) -> Tree:
        """Read the present content of a mount."""
        path = container.filler_paths[mount.path]
        return await self._daemon.fetch(
            container.filler, path, lambda chunks: archive.receive(self._store, chunks)
        )

    # --- mounts -----------------------------------------------------------------------------
    async def _mounts(
        self, container: StepContainer, contents: list[MountContent]
    ) -> list[dict[str, Any]]:
        specs: list[dict[str, Any]] = []
        named: dict[str, str] = {}  # volume -> its path in the filler
        fills: list[tuple[str, Tree]] = []
        files, source = Tree(), ""
        if any(each.tree is not None for each in contents):
            volume = await self._volume(container)
            named[volume["Name"]], source = f"{FILLER_ROOT}/{FILES}", volume["Mountpoint"]
            specs.append(_bind(f"{source}/mark", MARK))
            files = Tree({"": FOLDER, "mark": self._blob(b"", Entry(FILE, 0o444))})
        for at, each in enumerate(contents):
            mount, place = each.mount, f"{FILLER_ROOT}/{at}"
            match mount.kind:
                case "temp":
                    options = {"SizeBytes": mount.size} if mount.size else {}
                    specs.append({"Type": "tmpfs", "Target": mount.path, "TmpfsOptions": options})
                case "cache" | "directory":
                    name = each.volume or (await self._volume(container))["Name"]
                    specs.append(_volume(name, mount.path, read_only=mount.read_only))
                    container.filler_paths[mount.path] = place
                    if each.tree is not None:
                        named[name] = place
                        fills.append((str(at), each.tree))
                case "file" if each.tree is not None:
                    files = with_file(files, str(at), each.tree.root)
                    specs.append(_bind(f"{source}/{at}", mount.path, read_only=False))
                    container.filler_paths[mount.path] = f"{FILLER_ROOT}/{FILES}/{at}"
        if source:
            container.filler = await self._filler(container.image, named)
            await self._fill(container.filler, [*fills, (FILES, files)])
        secrets = [each for each in contents if each.mount.kind == "secret"]
        return specs + (await self._secrets(container, secrets) if secrets else [])

    async def _secrets(
        self, container: StepContainer, contents: list[MountContent]
    ) -> list[dict[str, Any]]:
        """Put secrets into memory; return the mounts of their files."""
        place = f"{FILLER_ROOT}/{FILES}"
        source = await self._memory(container, place)
        files = [
            (str(at), Entry(FILE, each.mount.mode, *each.owner), each.data)
            for at, each in enumerate(contents)
        ]
        await self._daemon.put(container.keeper, place, archive.send(self._store, [], files))
        return [_bind(f"{source}/{at}", each.mount.path) for at, each in enumerate(contents)]

    async def _memory(self, container: StepContainer, place: str) -> str:
        """Mount a volume in memory into a running container, the keeper; return its path.

        Docker unmounts such a volume, and its content is lost, when no running container has it.
        """
        volume = await self._volume(container, MEMORY)
        for image in dict.fromkeys(filter(None, (container.image, self._idling_image))):
            container.keeper = await self._filler(image, {volume["Name"]: place})
            try:
                await self._daemon.call(self._daemon.client.start, container.keeper)
            except DaemonError as error:
                await self._daemon.remove(container.keeper)
                if NOT_STARTED not in str(error):
                    raise
            else:
                self._idling_image = image
                return str(volume["Mountpoint"])
        self._options.log(
            "a secret is in a volume on disk until its step ends: the image has no `sleep`, so no "
            "container of it can keep a volume in memory"
        )
        volume = await self._volume(container)
        container.keeper = await self._filler(container.image, {volume["Name"]: place})
        return str(volume["Mountpoint"])

    async def _volume(
        self, container: StepContainer, options: Mapping[str, str] | None = None
    ) -> Any:
        made = await self._daemon.create_volume(options=options)
        container.volumes.append(made["Name"])
        return made

    async def _filler(self, image: str, volumes: Mapping[str, str]) -> str:
        mounts = [_volume(name, place) for name, place in volumes.items()]
        return await self._daemon.create(image, IDLE, host={"mounts": mounts})

    async def _fill(self, filler: str, trees: list[tuple[str, Tree]]) -> None:
        if not self._daemon.podman:
            await self._daemon.put(filler, FILLER_ROOT, archive.send(self._store, trees))
            return
        # Podman puts files only below the volume itself. Docker would keep that path's owner.
        for path, tree in trees:
            content = archive.send(self._store, [("", tree)])
            await self._daemon.put(filler, f"{FILLER_ROOT}/{path}", content)

    def _blob(self, data: bytes, entry: Entry) -> Entry:
        return entry._replace(size=len(data), content=self._store.add_bytes(data))

    async def _ca_mount(self, image: str) -> list[dict[str, Any]]:
        """Return the mount of the CA bundle, from one volume for the whole session."""
        if self._options.ca_bundle is None:
            return []
        async with self._ca_lock:
            if self._ca is None:
                self._ca = await self._create_ca_volume(image)
        return [self._ca]

    async def _create_ca_volume(self, image: str) -> dict[str, Any]:
        data = await anyio.Path(self._options.ca_bundle or "").read_bytes()
        volume = await self._daemon.create_volume()
        tree = Tree({"": FOLDER, "ca.pem": self._blob(data, Entry(FILE, 0o444))})
        await self._fill_volume(volume["Name"], image, tree)
        return _bind(f"{volume['Mountpoint']}/ca.pem", CA_PATH)

    async def cache_volume(self, name: str, image: str, first: Tree | None) -> str:
        """Return the volume of a cache; a new one has its first content, or none.

        A second, empty volume marks one that was filled completely. Without it the first one was
        left by a process that was killed, and is filled again.
        """
        volume = f"acso-cache-{key_of(name)[:20]}"
        mark = f"{volume}-filled"
        for each in (volume, mark):
            self._store.set(key_of("volume", each), {"volume": each})  # used now, for prune
        if first is None:
            await self._ensure_volume(volume, name)
            return volume
        async with locks.held(self._store.root / "locks" / volume):
            new = await self._ensure_volume(volume, name)
            if new:  # its mark is that of an earlier volume, which was removed
                await self._daemon.try_remove(self._daemon.client.remove_volume, mark)
            look = self._daemon.client.inspect_volume
            if new or await self._daemon.inspect(look, mark) is None:
                await self._fill_volume(volume, image, first)
                await self._ensure_volume(mark, name)
        return volume

    async def _ensure_volume(self, volume: str, cache: str) -> bool:
        """Create a volume of a cache; return False if it exists."""
        look = partial(self._daemon.inspect, self._daemon.client.inspect_volume, volume)
        if await look() is not None:
            return False
        try:
            labels = {LABEL: "1", CACHE: cache, STORE: self._store.identity}
            await self._daemon.create_volume(labels, volume)
        except DaemonError:  # Podman refuses a name that another process has created meanwhile
            if await look() is None:
                raise
        return True

    async def _fill_volume(self, volume: str, image: str, tree: Tree) -> None:
        filler = await self._filler(image, {volume: f"{FILLER_ROOT}/cache"})
        try:
            await self._fill(filler, [("cache", tree)])
        finally:
            await self.drop(StepContainer(id=filler, image=image))


def _volume(name: str, path: str, *, read_only: bool = False) -> dict[str, Any]:
    kept = {"VolumeOptions": {"NoCopy": True}}
    return {"Type": "volume", "Source": name, "Target": path, "ReadOnly": read_only, **kept}


def _bind(source: str, path: str, *, read_only: bool = True) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Target": path, "ReadOnly": read_only}
