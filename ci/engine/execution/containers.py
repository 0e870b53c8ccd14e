"""One container with what is mounted into it: made, filled, read, removed.

Contents that are mounted live in volumes of this container alone. They are filled and read
through a second container that never starts (the "filler"): putting files into the container
itself would leave the mount points in its layer. Single files are binds of a file inside such a
volume, by the daemon's own path: no path of this host is assumed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio

from ci.engine.execution.docker_api import CACHE, IDLE, LABEL, Daemon, DaemonError
from ci.engine.options import CA_PATH, Options
from ci.engine.store import archive
from ci.engine.store.cache import Store, key_of
from ci.engine.store.tree import FILE, FOLDER, Entry, Tree, put
from ci.engine.values import Mount

#: Where the filler has the volumes.
FILLED = "/v"
#: What changed since this file was made, a command changed.
MARK = "/dev/acso/mark"
FILES = "files"
#: Seconds that removing one container may take.
FAREWELL = 10


@dataclass(kw_only=True)
class Box:
    """A container and what belongs to it."""

    id: str
    image: str
    filler: str = ""
    places: dict[str, str] = field(default_factory=dict)  # mount path -> path in the filler
    volumes: list[str] = field(default_factory=list)
    waited: bool = False  # it idled for this command, and may have been removed meanwhile
    once: bool = False  # runs one command as its own, idling is not possible
    marked: bool = True  # MARK is younger than what is mounted
    stubs: list[list[str]] = field(default_factory=list)  # see `Result.stubs`
    touched: bool = False  # files were put into it, so its mount points are in its layer


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A mount with its content, as it is when a container is made."""

    mount: Mount
    tree: Tree | None = None  # directory, file, or the first content of a cache
    data: bytes = b""  # of a secret
    owner: tuple[int, int] = (0, 0)  # of a secret or a cache
    volume: str = ""  # of a cache


class Boxes:
    """Makes containers for commands and services."""

    def __init__(self, options: Options, store: Store, daemon: Daemon) -> None:
        self._options = options
        self._store = store
        self._daemon = daemon
        self._ca: dict[str, Any] | None = None
        self._making = anyio.Lock()

    async def create(
        self,
        image: str,
        mounts: list[Filled],
        hosts: Mapping[str, str],
        command: list[str] | None = None,
        **settings: Any,
    ) -> Box:
        """Make a container that is not yet started; without a command it idles."""
        box = Box(id="", image=image)
        try:
            specs = await self._mounted(box, mounts)
            specs += await self._bundle(image)
            host = {"mounts": specs, "extra_hosts": dict(hosts)}
            box.id = await self._daemon.create(image, command or IDLE, host=host, **settings)
        except BaseException:
            await self.drop(box)
            raise
        return box

    async def drop(self, box: Box) -> None:
        """Remove a container that failed or serves no more, whatever happens to who asks for it.

        What cannot be removed now, the end of the session or the next start removes.
        """
        with anyio.move_on_after(FAREWELL, shield=True):
            try:
                await self.remove(box)
            except DaemonError as error:
                self._options.log(f"container {box.id[:12]} stays for now: {error}")

    async def remove(self, box: Box) -> None:
        """Remove a container, its filler and their volumes."""
        for container in filter(None, (box.id, box.filler)):
            await self._daemon.remove(container)
        for volume in box.volumes:
            await self._daemon.gone(self._daemon.client.remove_volume, volume, force=True)

    async def content(self, box: Box, mount: Mount) -> Tree:
        """Read what is mounted at a path now."""
        return await self._daemon.fetch(
            box.filler, box.places[mount.path], lambda chunks: archive.receive(self._store, chunks)
        )

    # --- mounts -----------------------------------------------------------------------------
    async def _mounted(self, box: Box, mounts: list[Filled]) -> list[dict[str, Any]]:
        specs: list[dict[str, Any]] = []
        named: dict[str, str] = {}  # volume -> its place in the filler
        fills: list[tuple[str, Tree]] = []
        secrets: list[tuple[str, Entry, bytes]] = []
        files, source = Tree(), ""
        if any(each.tree is not None or each.mount.kind == "secret" for each in mounts):
            volume = await self._volume(box)
            named[volume["Name"]], source = f"{FILLED}/{FILES}", volume["Mountpoint"]
            specs.append(_bind(f"{source}/mark", MARK))
            files = Tree({"": FOLDER, "mark": self._blob(b"", Entry(FILE, 0o444))})
        for at, each in enumerate(mounts):
            mount, place = each.mount, f"{FILLED}/{at}"
            match mount.kind:
                case "temp":
                    options = {"SizeBytes": mount.size} if mount.size else {}
                    specs.append({"Type": "tmpfs", "Target": mount.path, "TmpfsOptions": options})
                case "cache" | "directory":
                    name = each.volume or (await self._volume(box))["Name"]
                    specs.append(_volume(name, mount.path, read_only=mount.read_only))
                    box.places[mount.path] = place
                    if each.tree is not None:
                        named[name] = place
                        fills.append((str(at), each.tree))
                case "file" | "secret":
                    if each.tree is None:
                        secrets.append((str(at), Entry(FILE, mount.mode, *each.owner), each.data))
                    else:
                        files = put(files, str(at), each.tree)
                    read_only = mount.kind == "secret"
                    specs.append(_bind(f"{source}/{at}", mount.path, read_only=read_only))
                    box.places[mount.path] = f"{FILLED}/{FILES}/{at}"
        if source:
            box.filler = await self._filler(box.image, named)
            await self._fill(box.filler, [*fills, (FILES, files)], secrets)
        return specs

    async def _volume(self, box: Box) -> Any:
        made = await self._daemon.volume()
        box.volumes.append(made["Name"])
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
            await self._daemon.put(filler, FILLED, archive.send(self._store, trees, hidden))
            return
        # Podman sees no volumes below a path that is none; Docker keeps the owner of the path.
        for path, tree in trees:
            hidden = secrets if path == FILES else []
            content = archive.send(self._store, [("", tree)], hidden)
            await self._daemon.put(filler, f"{FILLED}/{path}", content)

    def _blob(self, data: bytes, entry: Entry) -> Entry:
        return entry._replace(size=len(data), content=self._store.add_bytes(data))

    async def _bundle(self, image: str) -> list[dict[str, Any]]:
        """Return the mount of the CA bundle, from one volume for the whole session."""
        if self._options.ca_bundle is None:
            return []
        async with self._making:
            if self._ca is None:
                self._ca = await self._make_bundle(image)
        return [self._ca]

    async def _make_bundle(self, image: str) -> dict[str, Any]:
        data = await anyio.Path(self._options.ca_bundle or "").read_bytes()
        volume = await self._daemon.volume()
        filler = await self._filler(image, {volume["Name"]: f"{FILLED}/ca"})
        tree = Tree({"": FOLDER, "ca.pem": self._blob(data, Entry(FILE, 0o444))})
        try:
            await self._fill(filler, [("ca", tree)], [])
        finally:
            await self.drop(Box(id=filler, image=image))
        return _bind(f"{volume['Mountpoint']}/ca.pem", CA_PATH)

    async def cache(self, name: str) -> tuple[str, bool]:
        """Return the volume of a cache and whether it is new."""
        volume = f"acso-cache-{key_of(name)[:20]}"
        self._store.set(key_of("volume", volume), {"volume": volume})  # used, says prune
        look = partial(self._daemon.found, self._daemon.client.inspect_volume, volume)
        new = await look() is None
        try:
            if new:
                await self._daemon.volume({LABEL: "1", CACHE: name}, volume)
        except DaemonError:  # Podman does not take a name that another has made meanwhile
            if await look() is None:
                raise
        return volume, new


def _volume(name: str, path: str, *, read_only: bool = False) -> dict[str, Any]:
    kept = {"VolumeOptions": {"NoCopy": True}}
    return {"Type": "volume", "Source": name, "Target": path, "ReadOnly": read_only, **kept}


def _bind(source: str, path: str, *, read_only: bool = True) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Target": path, "ReadOnly": read_only}
