"""Containers of steps and services with their mounts: created, filled, read, removed.

Mounted content is in volumes that belong to one container. They are filled and read through a
second container that never starts (the "filler"): putting files into the container itself would
leave the mount points in its layer. Single files are binds of a file inside such a volume, by the
daemon's own path: no path of this host is assumed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio

from ci.common.certificates import CA_PATH
from ci.engine.execution.docker_api import CACHE, IDLE, LABEL, Daemon, DaemonError
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
#: Seconds that removing one container may take.
REMOVE_TIMEOUT = 10


@dataclass(kw_only=True)
class StepContainer:
    """A container and what belongs to it."""

    id: str
    image: str
    filler: str = ""
    filler_paths: dict[str, str] = field(default_factory=dict)  # by mount path
    volumes: list[str] = field(default_factory=list)
    reused: bool = False  # it idled before this command, and may have been removed meanwhile
    dedicated: bool = False  # its own process is the one command that it runs
    mark_valid: bool = True  # MARK is newer than the mounted content
    mount_points: list[list[str]] = field(default_factory=list)  # see `ExecResult.mount_points`
    files_added: bool = False  # files were put into it, so its mount points are in its layer


@dataclass(frozen=True, kw_only=True)
class MountContent:
    """A mount with its content at the creation of a container."""

    mount: Mount
    tree: Tree | None = None  # directory, file, or the first content of a cache
    data: bytes = b""  # of a secret
    owner: tuple[int, int] = (0, 0)  # of a secret or a cache
    volume: str = ""  # of a cache


class StepContainers:
    """Creates and removes the containers of commands and services."""

    def __init__(self, options: Options, store: Store, daemon: Daemon) -> None:
        self._options = options
        self._store = store
        self._daemon = daemon
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
            host = {"mounts": specs, "extra_hosts": dict(hosts)}
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
        """Remove a container, its filler and their volumes."""
        for each in filter(None, (container.id, container.filler)):
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
        secrets: list[tuple[str, Entry, bytes]] = []
        files, source = Tree(), ""
        if any(each.tree is not None or each.mount.kind == "secret" for each in contents):
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
                case "file" | "secret":
                    if each.tree is None:
                        secrets.append((str(at), Entry(FILE, mount.mode, *each.owner), each.data))
                    else:
                        files = with_file(files, str(at), each.tree.root)
                    read_only = mount.kind == "secret"
                    specs.append(_bind(f"{source}/{at}", mount.path, read_only=read_only))
                    container.filler_paths[mount.path] = f"{FILLER_ROOT}/{FILES}/{at}"
        if source:
            container.filler = await self._filler(container.image, named)
            await self._fill(container.filler, [*fills, (FILES, files)], secrets)
        return specs

    async def _volume(self, container: StepContainer) -> Any:
        made = await self._daemon.create_volume()
        container.volumes.append(made["Name"])
        return made

    async def _filler(self, image: str, volumes: Mapping[str, str]) -> str:
        mounts = [_volume(name, place) for name, place in volumes.items()]
        return await self._daemon.create(image, IDLE, host={"mounts": mounts})

    async def _fill(
        self,
        filler: str,
        trees: list[tuple[str, Tree]],
        secrets: list[tuple[str, Entry, bytes]],
    ) -> None:
        if not self._daemon.podman:
            hidden = [(f"{FILES}/{name}", entry, data) for name, entry, data in secrets]
            await self._daemon.put(filler, FILLER_ROOT, archive.send(self._store, trees, hidden))
            return
        # Podman puts files only below the volume itself. Docker would keep that path's owner.
        for path, tree in trees:
            hidden = secrets if path == FILES else []
            content = archive.send(self._store, [("", tree)], hidden)
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
        filler = await self._filler(image, {volume["Name"]: f"{FILLER_ROOT}/ca"})
        tree = Tree({"": FOLDER, "ca.pem": self._blob(data, Entry(FILE, 0o444))})
        try:
            await self._fill(filler, [("ca", tree)], [])
        finally:
            await self.drop(StepContainer(id=filler, image=image))
        return _bind(f"{volume['Mountpoint']}/ca.pem", CA_PATH)

    async def cache_volume(self, name: str) -> tuple[str, bool]:
        """Return the volume of a cache and whether it is new."""
        volume = f"acso-cache-{key_of(name)[:20]}"
        self._store.set(key_of("volume", volume), {"volume": volume})  # used now, for prune
        look = partial(self._daemon.inspect, self._daemon.client.inspect_volume, volume)
        new = await look() is None
        try:
            if new:
                await self._daemon.create_volume({LABEL: "1", CACHE: name}, volume)
        except DaemonError:  # Podman refuses a name that another process has created meanwhile
            if await look() is None:
                raise
        return volume, new


def _volume(name: str, path: str, *, read_only: bool = False) -> dict[str, Any]:
    kept = {"VolumeOptions": {"NoCopy": True}}
    return {"Type": "volume", "Source": name, "Target": path, "ReadOnly": read_only, **kept}


def _bind(source: str, path: str, *, read_only: bool = True) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Target": path, "ReadOnly": read_only}
