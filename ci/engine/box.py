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

from ci.engine import archive
from ci.engine.daemon import CACHE, IDLE, LABEL, Daemon, DaemonError
from ci.engine.options import CA_PATH, Options
from ci.engine.store import Store, key_of
from ci.engine.tree import FILE, FOLDER, Entry, Tree, put
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
        fills: list[tuple[str, Tree]] = []  # volume's place in the filler, content
        binds: list[dict[str, Any]] = []
        single = Tree()
        secrets: list[tuple[str, Entry, bytes]] = []
        named: dict[str, str] = {}  # volume -> place
        for at, each in enumerate(mounts):
            mount, place = each.mount, f"{FILLED}/{at}"
            match mount.kind:
                case "temp":
                    options = {"SizeBytes": mount.size} if mount.size else {}
                    specs.append({"Type": "tmpfs", "Target": mount.path, "TmpfsOptions": options})
                case "cache":
                    specs.append(_volume(each.volume, mount))
                    if each.tree is not None:
                        named[each.volume] = place
                        fills.append((str(at), each.tree))
                case "directory":
                    volume = (await self._daemon.volume())["Name"]
                    box.volumes.append(volume)
                    specs.append(_volume(volume, mount))
                    named[volume] = place
                    box.places[mount.path] = place
                    fills.append((str(at), each.tree or Tree()))
                case _:
                    if each.tree is None:
                        entry = Entry(FILE, mount.mode, *each.owner)
                        secrets.append((str(at), entry, each.data))
                    else:
                        single = put(single, str(at), each.tree)
                    binds.append({"Type": "bind", "Source": str(at), "Target": mount.path})
                    binds[-1]["ReadOnly"] = mount.kind == "secret"
                    box.places[mount.path] = f"{FILLED}/{FILES}/{at}"
        if fills or binds:
            source = await self._daemon.volume()
            box.volumes.append(source["Name"])
            named[source["Name"]] = f"{FILLED}/{FILES}"
            single = put(single, "mark", Tree({"": self._blob(b"", Entry(FILE, 0o444))}))
            box.filler = await self._filler(box.image, named)
            await self._fill(box.filler, [*fills, (FILES, single)], secrets)
            binds.append({"Type": "bind", "Source": "mark", "Target": MARK, "ReadOnly": True})
            specs += [
                bind | {"Source": f"{source['Mountpoint']}/{bind['Source']}"} for bind in binds
            ]
        return specs

    async def _filler(self, image: str, volumes: Mapping[str, str]) -> str:
        mounts = [
            {"Type": "volume", "Source": name, "Target": place, "VolumeOptions": {"NoCopy": True}}
            for name, place in volumes.items()
        ]
        return await self._daemon.create(image, IDLE, host={"mounts": mounts})

    async def _fill(
        self,
        filler: str,
        trees: list[tuple[str, Tree]],
        secrets: list[tuple[str, Entry, bytes]] | None = None,
    ) -> None:
        if not self._daemon.podman:
            hidden = [(f"{FILES}/{name}", entry, data) for name, entry, data in secrets or ()]
            await self._daemon.put(filler, FILLED, archive.send(self._store, trees, hidden))
            return
        # Podman sees no volumes below a path that is none; Docker keeps the owner of the path.
        for path, tree in trees:
            hidden = secrets if path == FILES and secrets else []
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
            await self._fill(filler, [("ca", tree)])
        finally:
            await self.drop(Box(id=filler, image=image))
        source = f"{volume['Mountpoint']}/ca.pem"
        return {"Type": "bind", "Source": source, "Target": CA_PATH, "ReadOnly": True}

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


def _volume(name: str, mount: Mount) -> dict[str, Any]:
    return {
        "Type": "volume",
        "Source": name,
        "Target": mount.path,
        "ReadOnly": mount.read_only,
        "VolumeOptions": {"NoCopy": True},
    }
