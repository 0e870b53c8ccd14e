"""The Docker API as this engine uses it: a blocking client in threads, labels on every object.

Nothing here assumes that the daemon runs on this host: content travels as streams.
"""

import base64
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from posixpath import basename
from typing import Any, TypeVar
from urllib.parse import quote

import anyio
import anyio.to_thread
import docker.errors
import requests
import urllib3
from docker.utils.socket import SocketError

from ci.common.owners import is_dead, owner_name
from ci.engine import requirements
from ci.engine.docker import podman, transfers
from ci.engine.docker.client import THREADS, connect
from ci.engine.docker.idle import Lookers
from ci.engine.errors import EngineError
from ci.engine.store import archive
from ci.engine.store.tree import LINK, Entry

T = TypeVar("T")
LABEL = "acso.engine"
SESSION = "acso.engine.session"
STORE = "acso.engine.store"
CACHE = "acso.engine.cache"
#: Images of steps have a tag, so that `docker image prune` keeps them and they can be listed.
REPOSITORY = "acso-engine"
#: Errors of a daemon that does not answer, or ends in the middle of an answer.
NO_ANSWER = (
    OSError,  # requests' errors among them
    urllib3.exceptions.HTTPError,
    SocketError,
    docker.errors.StreamParseError,
)
#: The bit of a symbolic link in a mode of Go's `io/fs`, which the API uses.
SYMBOLIC = 1 << 27
#: What keeps a container alive between the commands that run in it.
IDLE = ["sleep", "2147483647"]


class Daemon:
    """The container engine, as one session uses it."""

    def __init__(self, url: str | None, labels: Mapping[str, str]) -> None:
        self.client = connect(url)
        self.session = owner_name()
        self.labels = {**labels, LABEL: "1", SESSION: self.session}
        self._threads = anyio.CapacityLimiter(THREADS)
        version = self.client.version()
        if reason := requirements.refusal(version):
            raise EngineError(reason)
        self.architecture = str(version["Arch"])
        self.podman = bool(requirements.podman_version(version))
        #: Whether images are in Docker's containerd store, the default since Docker 29.
        self.containerd = not self.podman and uses_containerd_store(self.client.info())
        self._limits = podman.limits(self.client.base_url) if self.podman else []
        self.client.build_limits = self._limits
        at_once = partial(podman.remove, self.client)
        self.remove_container = at_once if self.podman else self.client.remove_container
        self.lookers = Lookers(self.client)
        self._probes: dict[str, str] = {}
        self._probing = anyio.Lock()

    def close(self) -> None:
        """Close the connections to the container engine."""
        self.lookers.close_all()
        self.client.close()

    async def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a blocking function of the client in a thread; its errors become `DaemonError`."""
        try:
            return await anyio.to_thread.run_sync(
                partial(function, *args, **kwargs), limiter=self._threads, abandon_on_cancel=True
            )
        except docker.errors.APIError as error:
            said = str(error.explanation or error)
            # Podman has another status for a container that disappears during the call.
            status = 404 if "no such container" in said.lower() else error.status_code or 0
            raise DaemonError(said, status) from error
        except docker.errors.DockerException as error:
            raise DaemonError(str(error), 0) from error
        except requests.JSONDecodeError as error:
            # Podman's answer is empty if the object disappears during the call.
            raise DaemonError("the container engine's answer is empty", 404) from error
        except NO_ANSWER as error:
            raise DaemonError(f"the container engine does not answer: {error}", 0) from error
        except tarfile.TarError as error:
            raise DaemonError(f"the container engine sent half an archive: {error}", 0) from error

    async def inspect(self, function: Callable[[str], dict[str, Any]], name: str) -> Any:
        """Return the description of an image, container, volume or network; None if missing."""
        try:
            return await self.call(function, name)
        except DaemonError as error:
            if error.status in (400, 404):
                return None
            raise

    async def try_remove(self, remove: Callable[..., Any], name: str, **options: bool) -> bool:
        """Remove an object; return False if it is missing or in use."""
        try:
            await self.call(remove, name, **options)
        except DaemonError as error:
            if error.status not in (404, 409):
                raise
            return False
        return True

    # --- images -----------------------------------------------------------------------------
    async def image(self, reference: str) -> dict[str, Any] | None:
        """Return the description of an image, None where the daemon has none of that name."""
        found: dict[str, Any] | None = await self.inspect(self.client.inspect_image, reference)
        if found and self.podman:
            found["Config"] |= await self.call(self._health, reference)
        return found

    async def image_id(self, reference: str) -> str | None:
        """Return the id of an image, None where the daemon has none of that name."""
        found = await self.inspect(self.client.inspect_image, reference)
        return None if found is None else str(found["Id"])

    def _health(self, reference: str) -> dict[str, Any]:
        """Return an image's health check, which Podman returns in its own API only."""
        url = f"{self.client.base_url}/v4.0.0/libpod/images/{quote(reference, safe='')}/json"
        config = self.client._result(self.client._get(url), json=True)
        return {"Healthcheck": config["Healthcheck"]} if "Healthcheck" in config else {}

    async def pull(self, reference: str, auth: dict[str, str] | None) -> None:
        """Pull an image; raises `DaemonError` if its registry refuses or does not answer."""
        await self.call(transfers.pull, self.client, reference, auth, podman=self.podman)

    async def has_current(
        self, reference: str, image: Mapping[str, Any], auth: dict[str, str] | None
    ) -> bool:
        """Return whether an image is what a tag names in its registry now.

        Raises:
            DaemonError: the registry refuses or does not answer.
        """
        if self.podman:  # it has no such question, and pulls only what it has not
            await self.pull(reference, auth)
            return await self.image_id(reference) == str(image["Id"])
        digest = await self.call(transfers.registry_digest, self.client, reference, auth)
        known = [name.rpartition("@")[2] for name in image.get("RepoDigests") or []]
        return digest in (*known, image["Id"])

    async def load(self, chunks: Iterator[bytes]) -> None:
        """Load an image in the format of `docker save`."""

        def work() -> None:
            for line in self.client.load_image(chunks):
                if error := transfers.reported_error(line):
                    raise docker.errors.DockerException(error)

        await self.call(work)

    async def push(self, repository: str, tag: str, auth: dict[str, str] | None) -> str:
        """Push a tag and return the manifest's digest; raises `DaemonError` as `pull` does."""
        return await self.call(transfers.push, self.client, repository, tag, auth)

    async def save(self, image: str, read: Callable[[Iterable[bytes]], T]) -> T:
        """Read an image in the format of `docker save`, in the thread that receives it."""
        return await self._streamed(read, "/images/{0}/get", image)

    # --- containers -------------------------------------------------------------------------
    async def create(self, image: str, command: list[str], **settings: Any) -> str:
        """Create a container without starting it; return its id.

        A cancelled caller gets the id too, to remove the container.
        """
        host = self.client.create_host_config(**settings.pop("host", {}), ulimits=self._limits)
        with anyio.CancelScope(shield=True):
            made = await self.call(
                self.client.create_container,
                image,
                command[1:],
                entrypoint=command[:1],
                host_config=host,
                labels=self.labels,
                **settings,
            )
        return str(made["Id"])

    async def commit(self, container: str, tag: str) -> str:
        """Commit a container's files to an image, without a pause; return the image's id."""
        made = await self.call(self.client.commit, container, REPOSITORY, tag, pause=False)
        image = str(made["Id"])
        return image if ":" in image else f"sha256:{image}"  # Podman omits the prefix

    async def remove(self, container: str) -> None:
        """Remove a container with its anonymous volumes, whether it runs, stopped or is missing."""
        self.lookers.close(container)
        await self.try_remove(self.remove_container, container, v=True, force=True)

    async def processes(self, container: str) -> int | None:
        """Return the number of processes and threads; None if the daemon does not count them.

        The kernel counts them for each container. (`top` needs a program `ps` on Docker's host.)
        """
        url = self.client._url("/containers/{0}/stats", container)
        params = {"stream": "false", "one-shot": "true"}

        def work() -> dict[str, Any]:
            found: dict[str, Any] = self.client._result(self.client._get(url, params=params), True)
            return found

        count = ((await self.call(work)).get("pids_stats") or {}).get("current")
        return int(count) if count else None

    async def create_volume(
        self,
        labels: Mapping[str, str] | None = None,
        name: str | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Any:
        """Create a volume, or return the one of that name; a cancelled caller gets it too.

        On Podman the first container that mounts a volume would own it, unless an owner is set.
        """
        owner = {"o": "uid=0,gid=0"} if self.podman else {}
        with anyio.CancelScope(shield=True):
            return await self.call(
                self.client.create_volume,
                name,
                driver_opts=dict(options or owner) or None,
                labels=dict(labels or self.labels),
            )

    async def put(self, container: str, path: str, chunks: Iterator[bytes]) -> None:
        """Unpack a tar stream into a directory of a container."""
        await self.call(self.client.put_archive, container, path, chunks)

    async def fetch(self, container: str, path: str, read: Callable[[Iterable[bytes]], T]) -> T:
        """Read a path of a container as a tar stream, in the thread that receives it.

        Raises:
            DaemonError: with status 404 if the path does not exist.
        """
        return await self._streamed(read, "/containers/{0}/archive", container, path=path)

    async def _streamed(
        self, read: Callable[[Iterable[bytes]], T], url: str, name: str, **params: str
    ) -> T:
        def work() -> T:  # docker-py's streams cannot be closed before their end
            answer = self.client._get(self.client._url(url, name), params=params, stream=True)
            with answer:
                self.client._raise_for_status(answer)
                return read(answer.iter_content(1 << 18, False))

        return await self.call(work)

    async def probe(self, image: str) -> str:
        """Return a container of an image that never runs, to read its files."""
        async with self._probing:
            if image not in self._probes:
                self._probes[image] = await self.create(image, IDLE)
            return self._probes[image]

    async def read_image(
        self, image: str, path: str, read: Callable[[Iterable[bytes]], T]
    ) -> T | None:
        """Read a path of an image, whose directory must not be a link; None if it is missing."""
        while True:
            probe = await self.probe(image)
            try:
                return await self.fetch(probe, "/" + path, read)
            except DaemonError as error:
                if error.status != 404:
                    raise
                if "no such container" not in str(error).lower():
                    return None
            self._probes.pop(image, None)  # the probe is missing, not the path: create it again

    async def read_entry(self, image: str, path: str) -> Entry | None:
        """Return the entry at a path of an image, whose directory must not be a link.

        Podman follows a link when it reads it, and reports it as a link only in the path's stat.
        """
        if self.podman and (target := await self._link(await self.probe(image), "/" + path)):
            return Entry(LINK, 0o777, size=len(os.fsencode(target)), content=target)
        return await self.read_image(image, path, archive.first)

    async def _link(self, container: str, path: str) -> str:
        """Return the target of a link in a container; empty for other files and dead links."""
        url = self.client._url("/containers/{0}/archive", container)
        answer = await self.call(self.client.head, url, params={"path": path})
        header = answer.headers.get("X-Docker-Container-Path-Stat") if answer.ok else None
        stat = json.loads(base64.b64decode(header)) if header else {"mode": 0}
        return str(stat["linkTarget"]) if stat["mode"] & SYMBOLIC else ""

    async def running(self, container: str) -> bool:
        """Return whether a container exists and runs."""
        found = await self.inspect(self.client.inspect_container, container)
        return found is not None and bool(found["State"]["Running"])


def uses_containerd_store(info: Mapping[str, Any]) -> bool:
    """Return whether a daemon that describes itself so keeps images in the containerd store."""
    status = dict(pair for pair in info.get("DriverStatus") or [] if len(pair) == 2)
    return status.get("driver-type") == "io.containerd.snapshotter.v1"


class DaemonError(EngineError):
    """The daemon refused a call; `status` is its HTTP status, 0 where it did not answer."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


async def remove_sessions(daemon: Daemon, sessions: Iterable[str]) -> None:
    """Remove the containers of sessions, then the volumes and networks that those held.

    Raises:
        DaemonError: an object could not be removed; all the others were.
    """
    errors: list[DaemonError] = []

    async def attempt(remove: Callable[..., Any], name: str) -> None:
        try:
            await daemon.try_remove(remove, name, force=True)
        except DaemonError as error:
            errors.append(error)

    client = daemon.client
    filters = [{"label": [f"{SESSION}={session}"]} for session in sessions]
    remove = partial(daemon.remove_container, v=True)

    def remove_network(name: str, **_options: bool) -> None:
        client.remove_network(name)

    for each in filters:
        found = await daemon.call(client.containers, all=True, quiet=True, filters=each)
        async with anyio.create_task_group() as group:
            for container in found:
                group.start_soon(attempt, remove, container["Id"])
    for each in filters:
        volumes = await daemon.call(client.volumes, filters=each)
        for volume in volumes["Volumes"] or []:
            await attempt(client.remove_volume, volume["Name"])
        for network in await daemon.call(client.networks, filters=each):
            await attempt(remove_network, network["Id"])
    if errors:
        raise errors[0]


async def remove_dead_sessions(daemon: Daemon, labels: Mapping[str, str]) -> None:
    """Remove everything with these labels of sessions whose process has ended."""
    wanted = {"label": [SESSION, *(f"{key}={value}" for key, value in labels.items())]}
    containers = await daemon.call(daemon.client.containers, all=True, filters=wanted)
    volumes = await daemon.call(daemon.client.volumes, filters=wanted)
    networks = await daemon.call(daemon.client.networks, filters=wanted)
    objects = [*containers, *(volumes["Volumes"] or []), *networks]
    found = {each["Labels"][SESSION] for each in objects}
    await remove_sessions(daemon, [session for session in found if is_dead(session)])


def real_tags(image: Mapping[str, Any]) -> list[str]:
    """Return an image's tags in a list of images; Docker 20.10 has a word for none."""
    return [tag for tag in image.get("RepoTags") or [] if tag != "<none>:<none>"]


def own_tags(image: Mapping[str, Any], store: str) -> list[str]:
    """Return an image's tags of a store, by its identity, without the registry that Podman adds."""
    tags = map(basename, real_tags(image))
    return [tag for tag in tags if tag.startswith(f"{REPOSITORY}:{store}-")]
