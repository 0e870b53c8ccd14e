"""The Docker API as this engine uses it: blocking client in worker threads, labels on everything.

Nothing here assumes that the daemon runs on this host: contents go in and come out as streams.
"""

import base64
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from posixpath import basename
from typing import Any, TypeVar
from urllib.parse import quote

import anyio
import anyio.to_thread
import docker
import docker.errors
import urllib3
from docker.utils import kwargs_from_env
from docker.utils.socket import SocketError

from ci.engine.errors import EngineError
from ci.engine.execution import transfers
from ci.engine.session_names import dead, session_name
from ci.engine.store import archive
from ci.engine.store.tree import LINK, Entry

T = TypeVar("T")
LABEL = "acso.engine"
SESSION = "acso.engine.session"
CACHE = "acso.engine.cache"
#: Images of steps carry a tag, so that `docker image prune` spares them and they can be listed.
REPOSITORY = "acso-engine"
#: Seconds one answer of the daemon may take: a commit or a load of gigabytes, at most.
TIMEOUT = 600
#: Calls of the daemon at a time.
THREADS = 128
#: How it shows that a daemon is not there, or goes away in the middle of an answer.
SILENCE = (
    OSError,  # requests' errors among them
    urllib3.exceptions.HTTPError,
    SocketError,
    docker.errors.StreamParseError,
)
#: The bit of a link in a mode as Go's `io/fs` has it, which is how the API tells one.
SYMBOLIC = 1 << 27
#: What keeps a container alive between the commands that run in it.
IDLE = ["sleep", "2147483647"]


def connect(url: str | None) -> Any:
    """Return a client of a daemon; `None` means DOCKER_HOST or the default socket."""
    settings = kwargs_from_env()
    if url is not None:
        settings = {**settings, "base_url": url}
    try:
        return docker.APIClient(
            **settings,
            version="auto",
            timeout=TIMEOUT,
            # The client has a pool for each URL, and closes the oldest, even under a new user.
            num_pools=2 * THREADS,
            max_pool_size=THREADS,
        )
    except docker.errors.DockerException as error:
        raise EngineError(
            f"no container engine answers at {url or 'the default'}: {error}"
        ) from error


class Daemon:
    """One session's way to Docker."""

    def __init__(self, url: str | None, labels: Mapping[str, str]) -> None:
        self.client = connect(url)
        self.session = session_name()
        self.labels = {**labels, LABEL: "1", SESSION: self.session}
        self._threads = anyio.CapacityLimiter(THREADS)
        version = self.client.version()
        self.architecture = str(version["Arch"])
        parts = {part["Name"] for part in version.get("Components") or []}
        self.podman = "Podman Engine" in parts
        self._probes: dict[str, str] = {}
        self._probing = anyio.Lock()

    async def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a blocking function of the client in a thread; Docker's errors become ours."""
        try:
            return await anyio.to_thread.run_sync(
                partial(function, *args, **kwargs), limiter=self._threads, abandon_on_cancel=True
            )
        except docker.errors.APIError as error:
            said = str(error.explanation or error)
            # For what goes away while it looks, Podman has another status.
            status = 404 if "no such container" in said.lower() else error.status_code or 0
            raise DaemonError(said, status) from error
        except docker.errors.DockerException as error:
            raise DaemonError(str(error), 0) from error
        except SILENCE as error:
            raise DaemonError(f"the container engine does not answer: {error}", 0) from error
        except tarfile.TarError as error:
            raise DaemonError(f"the container engine broke off an archive: {error}", 0) from error

    async def found(self, inspect: Callable[[str], dict[str, Any]], name: str) -> Any:
        """Return what the daemon knows of an image, container, volume or network, or None."""
        try:
            return await self.call(inspect, name)
        except DaemonError as error:
            if error.status in (400, 404):
                return None
            raise

    async def gone(self, remove: Callable[..., Any], name: str, **options: bool) -> bool:
        """Remove something; whether it went, and was not gone, going or in use."""
        try:
            await self.call(remove, name, **options)
        except DaemonError as error:
            if error.status not in (404, 409):
                raise
            return False
        return True

    # --- images -----------------------------------------------------------------------------
    async def image(self, reference: str) -> dict[str, Any] | None:
        """Return what the daemon knows of an image, None where it has none of that name."""
        found: dict[str, Any] | None = await self.found(self.client.inspect_image, reference)
        if found and self.podman:
            found["Config"] |= await self.call(self._health, reference)
        return found

    def _health(self, reference: str) -> dict[str, Any]:
        """Return an image's health check, which Podman tells in its own API alone."""
        url = f"{self.client.base_url}/v4.0.0/libpod/images/{quote(reference, safe='')}/json"
        told = self.client._result(self.client._get(url), json=True)
        return {"Healthcheck": told["Healthcheck"]} if "Healthcheck" in told else {}

    async def pull(self, reference: str, auth: dict[str, str] | None) -> None:
        """Fetch an image from its registry; raises `DaemonError` if that refuses or is silent."""
        await self.call(transfers.pull, self.client, reference, auth, podman=self.podman)

    async def load(self, chunks: Iterator[bytes]) -> None:
        """Give the daemon an image in the form of `docker save`."""

        def work() -> None:
            for line in self.client.load_image(chunks):
                if "error" in line:
                    raise docker.errors.DockerException(line["error"])

        await self.call(work)

    async def push(self, repository: str, tag: str, auth: dict[str, str] | None) -> str:
        """Push a tag and return the manifest's digest; raises `DaemonError` as `pull` does."""
        return await self.call(transfers.push, self.client, repository, tag, auth)

    async def save(self, image: str, read: Callable[[Iterable[bytes]], T]) -> T:
        """Read an image in the form of `docker save`, in the thread that receives it."""
        return await self._streamed(read, "/images/{0}/get", image)

    # --- containers -------------------------------------------------------------------------
    async def create(self, image: str, command: list[str], **settings: Any) -> str:
        """Create a container without starting it; return its id.

        Whoever asks gets the id even if nobody waits any more, to remove what it names.
        """
        host = self.client.create_host_config(**settings.pop("host", {}))
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
        """Keep a container's files as an image, without pausing it; return the image's id."""
        made = await self.call(self.client.commit, container, REPOSITORY, tag, pause=False)
        image = str(made["Id"])
        return image if ":" in image else f"sha256:{image}"  # Podman leaves the kind out

    async def remove(self, container: str) -> None:
        """Remove a container with its own volumes, running or not, there or not."""
        await self.gone(self.client.remove_container, container, v=True, force=True)

    async def processes(self, container: str) -> int:
        """Return how many processes a container has; Podman asks a `ps` in it but for columns."""
        url = self.client._url("/containers/{0}/top", container)
        params = {"ps_args": "pid", "stream": "false"} if self.podman else {}

        def work() -> int:
            return len(self.client._result(self.client._get(url, params=params), True)["Processes"])

        return await self.call(work)

    async def volume(self, labels: Mapping[str, str] | None = None, name: str | None = None) -> Any:
        """Make a volume, or find the one of that name; told even if nobody waits any more.

        Podman gives a volume to whoever mounts it first, but for one that was told its owner.
        """
        told = {"driver_opts": {"o": "uid=0,gid=0"}} if self.podman else {}
        with anyio.CancelScope(shield=True):
            return await self.call(
                self.client.create_volume, name, labels=dict(labels or self.labels), **told
            )

    async def put(self, container: str, path: str, chunks: Iterator[bytes]) -> None:
        """Unpack a tar stream into a directory of a container."""
        await self.call(self.client.put_archive, container, path, chunks)

    async def fetch(self, container: str, path: str, read: Callable[[Iterable[bytes]], T]) -> T:
        """Read a path of a container as a tar stream, in the thread that receives it.

        Raises:
            DaemonError: with status 404 where there is no such path.
        """
        return await self._streamed(read, "/containers/{0}/archive", container, path=path)

    async def _streamed(
        self, read: Callable[[Iterable[bytes]], T], url: str, name: str, **params: str
    ) -> T:
        def work() -> T:  # docker-py's own streams cannot be closed before their end
            answer = self.client._get(self.client._url(url, name), params=params, stream=True)
            with answer:
                self.client._raise_for_status(answer)
                return read(answer.iter_content(1 << 18, False))

        return await self.call(work)

    async def probe(self, image: str) -> str:
        """Return a container of an image that never runs: its files can be read."""
        async with self._probing:
            if image not in self._probes:
                self._probes[image] = await self.create(image, IDLE)
            return self._probes[image]

    async def look(self, image: str, path: str, read: Callable[[Iterable[bytes]], T]) -> T | None:
        """Read a path of an image (its directory must be no link), None for nothing there."""
        while True:
            probe = await self.probe(image)
            try:
                return await self.fetch(probe, "/" + path, read)
            except DaemonError as error:
                if error.status != 404:
                    raise
            if await self.found(self.client.inspect_container, probe) is not None:
                return None
            self._probes.pop(image, None)  # removed from outside: that says nothing of the path

    async def peek(self, image: str, path: str) -> Entry | None:
        """Return what is at a path of an image (its directory must be no link), a link as such.

        Podman follows a link to its end when it reads, and tells it apart only beforehand.
        """
        if self.podman and (target := await self._link(await self.probe(image), "/" + path)):
            return Entry(LINK, 0o777, content=target)
        return await self.look(image, path, archive.first)

    async def _link(self, container: str, path: str) -> str:
        """Return where a link of a container leads; empty for what is none, or leads nowhere."""
        url = self.client._url("/containers/{0}/archive", container)
        answer = await self.call(self.client.head, url, params={"path": path})
        told = answer.headers.get("X-Docker-Container-Path-Stat") if answer.ok else None
        stat = json.loads(base64.b64decode(told)) if told else {"mode": 0}
        return str(stat["linkTarget"]) if stat["mode"] & SYMBOLIC else ""

    async def running(self, container: str) -> bool:
        """Whether a container is there and runs."""
        found = await self.found(self.client.inspect_container, container)
        return found is not None and bool(found["State"]["Running"])


class DaemonError(EngineError):
    """The daemon refused; `status` is its HTTP status, 0 where it did not answer."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


async def remove_all(daemon: Daemon, sessions: Iterable[str]) -> None:
    """Remove what sessions left, containers before the volumes that they hold.

    Raises:
        DaemonError: something could not be removed; all the rest is.
    """
    errors: list[DaemonError] = []

    async def attempt(remove: Callable[..., Any], name: str) -> None:
        try:
            await daemon.gone(remove, name, force=True)
        except DaemonError as error:
            errors.append(error)

    client = daemon.client
    filters = [{"label": [f"{SESSION}={session}"]} for session in sessions]
    remove = partial(client.remove_container, v=True)
    for each in filters:
        found = await daemon.call(client.containers, all=True, quiet=True, filters=each)
        async with anyio.create_task_group() as group:
            for container in found:
                group.start_soon(attempt, remove, container["Id"])
    for each in filters:
        volumes = await daemon.call(client.volumes, filters=each)
        for volume in volumes["Volumes"] or []:
            await attempt(client.remove_volume, volume["Name"])
    if errors:
        raise errors[0]


async def clean(daemon: Daemon, labels: Mapping[str, str]) -> None:
    """Remove containers and volumes with these labels of sessions whose process is gone."""
    wanted = {"label": [SESSION, *(f"{key}={value}" for key, value in labels.items())]}
    containers = await daemon.call(daemon.client.containers, all=True, filters=wanted)
    volumes = await daemon.call(daemon.client.volumes, filters=wanted)
    found = {each["Labels"][SESSION] for each in [*containers, *(volumes["Volumes"] or [])]}
    await remove_all(daemon, [session for session in found if dead(session)])


async def remove_caches(url: str | None) -> list[str]:
    """Remove the images of steps and the cache volumes of every engine; return their names.

    What a container needs at the moment stays.
    """
    daemon = Daemon(url, {})
    client = daemon.client
    images = await daemon.call(client.images, REPOSITORY)
    names = [(tag, client.remove_image) for each in images for tag in own(each)]
    volumes = await daemon.call(client.volumes, filters={"label": CACHE})
    names += [(each["Name"], client.remove_volume) for each in volumes["Volumes"] or []]
    return [name for name, remove in names if await daemon.gone(remove, name, force=True)]


def own(image: Mapping[str, Any]) -> list[str]:
    """Return the names of an image that are this engine's, without the registry of Podman's."""
    tags = map(basename, image["RepoTags"] or [])
    return [tag for tag in tags if tag.startswith(f"{REPOSITORY}:")]
