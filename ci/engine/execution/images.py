"""Whole images: find, pull, build from a Dockerfile, publish, write to and read from archives."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio.to_thread
from docker.auth import resolve_repository_name
from docker.utils import parse_repository_tag

from ci.engine.docker.borrowed_tags import BorrowedTags
from ci.engine.docker.docker_api import REPOSITORY, DaemonError
from ci.engine.docker.transfers import reported_error
from ci.engine.errors import EngineError, UnsupportedError
from ci.engine.execution.resources import Evaluate, Resources, Reveal
from ci.engine.execution.steps import Steps
from ci.engine.files.rootfs import State
from ci.engine.healthcheck import Healthcheck
from ci.engine.ids import Call
from ci.engine.store import archive
from ci.engine.store.cache import key_of
from ci.engine.store.overlay import Layer
from ci.engine.store.tree import FOLDER, Tree, lookup, with_file
from ci.engine.values import Container, File, Image, Port

if TYPE_CHECKING:
    from ci.engine.store.oci import ArchiveFormat

#: A registry that fails after more than so many seconds is not asked again in the session.
SLOW_ANSWER = 2
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Reference(NamedTuple):
    """The parts of an image's name."""

    repository: str
    tag: str
    digest: str

    @property
    def registry(self) -> str:
        """The host, `docker.io` where the name has none."""
        return str(resolve_repository_name(self.repository)[0])


def parse_reference(text: str) -> Reference:
    """Return the parts of `host:port/name:tag@sha256:...`."""
    name, _, digest = text.partition("@")
    repository, tag = parse_repository_tag(name)
    return Reference(repository, tag or "", digest)


def canonical(repository: str) -> str:
    """Return a repository's name with its registry, as `docker.io/library/alpine`."""
    registry, name = resolve_repository_name(repository)
    official = registry == "docker.io" and "/" not in name
    return f"{registry}/{'library/' * official}{name}"


class Images:
    """Operations on whole images."""

    def __init__(
        self, resources: Resources, steps: Steps, evaluate: Evaluate, reveal: Reveal
    ) -> None:
        self._resources = resources
        self._options = resources.options
        self._store = resources.store
        self._daemon = resources.daemon
        self._rootfs = resources.rootfs
        self._steps = steps
        self._evaluate = evaluate
        self._reveal = reveal
        self.borrowed_tags = BorrowedTags(self._store, self._daemon, self._options.log)
        self._found: dict[str, dict[str, Any]] = {}  # what registries' tags name in this session
        self._silent: dict[str, str] = {}  # registries that do not answer, and why

    # --- from -------------------------------------------------------------------------------
    async def from_address(self, container: Container, address: str) -> Container:
        """Return a container of an image, or of the image that the options use instead."""
        wanted = self._options.images.get(address, address)
        if wanted != address:
            self._options.log(f"from {address}: using {wanted} instead")
        found = await self._find(container, wanted, own=wanted != address)
        return await self.from_image(container, found, self._full_name(wanted, found))

    async def _find(self, container: Container, address: str, *, own: bool) -> dict[str, Any]:
        """Return an image; its registry decides what a tag names, unless `own` (a substitute).

        A digest names one image: nothing is asked if the container engine has it.
        """
        ref = parse_reference(address)
        name = ref.repository + (f"@{ref.digest}" if ref.digest else f":{ref.tag or 'latest'}")
        for known in filter(None, (address, ref.digest and name, ref.digest)):
            if found := await self._daemon.image(known):
                return found if ref.digest or own else await self._current(container, name, found)
        return await self._pulled(container, name)

    async def _current(
        self, container: Container, name: str, local: dict[str, Any]
    ) -> dict[str, Any]:
        """Return what a tag names in its registry; the local image where that does not answer."""
        if name not in self._found:
            registry, started = parse_reference(name).registry, time.monotonic()
            try:
                self._found[name] = await self._checked(container, name, local)
            except DaemonError as error:
                if time.monotonic() - started > SLOW_ANSWER:
                    self._silent[registry] = str(error)
                reason = f"{registry} did not confirm it: {error}"
                self._options.log(f"from {name}: using the local image, {reason}")
                self._found[name] = local
        return self._found[name]

    async def _checked(
        self, container: Container, name: str, local: dict[str, Any]
    ) -> dict[str, Any]:
        registry = parse_reference(name).registry
        if registry in self._silent:
            raise DaemonError(self._silent[registry], 0)
        auth = await self.auth(container, registry)
        if await self._daemon.has_current(name, local, auth):
            return local
        return await self._pulled(container, name)

    async def _pulled(self, container: Container, name: str) -> dict[str, Any]:
        self._options.log(f"pull {name}")
        await self._daemon.pull(name, await self.auth(container, parse_reference(name).registry))
        return await self._inspect(name)

    async def _inspect(self, name: str) -> dict[str, Any]:
        found = await self._daemon.image(name)
        if found is None:
            raise EngineError(f"image {name}: the container engine has no image of that name")
        return found

    def _full_name(self, address: str, found: Mapping[str, Any]) -> str:
        """Return the image's canonical name, with its registry and digest."""
        ref = parse_reference(address)
        name = canonical(ref.repository)
        tagged = f"{name}:{ref.tag or 'latest'}" if ref.tag or not ref.digest else name
        for known in found.get("RepoDigests") or []:
            repository, _, digest = known.partition("@")
            if canonical(repository) == name and ref.digest in ("", digest):
                return f"{tagged}@{digest}"
        return f"{tagged}@{ref.digest or found['Id']}"

    async def from_image(
        self, container: Container, found: Mapping[str, Any], reference: str
    ) -> Container:
        """Return a container with an image's files and configuration.

        Variables, labels and ports that the container had stay, unless the image sets them.
        """
        config = found.get("Config") or {}
        bare = await self._rootfs.compose(State(image=found["Id"]), {})
        return replace(
            container,
            files=Image(id=bare),
            image_ref=reference,
            image_config=_rest_of(config, container.image_config),
            env=_merged_env(container, config),
            user=config.get("User") or "",
            workdir=config.get("WorkingDir") or "",
            entrypoint=tuple(config.get("Entrypoint") or ()),
            args=tuple(config.get("Cmd") or ()),
            labels=tuple({**dict(container.labels), **(config.get("Labels") or {})}.items()),
            healthcheck=Healthcheck.from_config(config.get("Healthcheck")),
            ports=_merged_ports(container, config),
        )

    async def auth(self, container: Container, registry: str) -> dict[str, str] | None:
        """Return the credentials for a registry, None where the container has none."""
        for address, (user, secret) in container.auth:
            if parse_reference(f"{address.rpartition('://')[2]}/x").registry == registry:
                return {"username": user, "password": (await self._reveal(secret)).decode()}
        return None

    # --- build ------------------------------------------------------------------------------
    async def build(self, context: Tree, dockerfile: str, **options: Any) -> Container:
        """Build a Dockerfile with Docker's own builder."""
        from ci.engine.execution import dockerfile as dockerfiles

        store, daemon = self._store, self._daemon
        context = dockerfiles.without_ignored(store, context, dockerfile, podman=daemon.podman)
        _, entry = lookup(context, dockerfile)
        data = store.read(entry.content).removeprefix(b"\xef\xbb\xbf")
        text = dockerfiles.with_substitutes(
            data.decode(errors="surrogateescape"), self._options.images
        )
        bases = {name: await daemon.image(name) for name in dockerfiles.bases(text)}
        text = await self._with_owned_workdirs(text, bases)
        data = text.encode(errors="surrogateescape")
        file = entry._replace(content=store.add_bytes(data), size=len(data))
        context = with_file(context, dockerfile, file)
        found = [base and base["Id"] for base in bases.values()]
        key = key_of("build", context.key, dockerfile, options, found)
        known = store.get(key)
        if known is None or await daemon.image(known) is None:
            tag = f"{REPOSITORY}:{store.tag(key)}"
            store.set(key_of("image", key), {"image": tag})  # in case this is killed: for prune
            known = await self._build(context, dockerfile, tag, options)
            store.set(key, known)
        empty = Container(platform=self._resources.platform)
        return await self.from_image(empty, await self._inspect(known), "")

    async def _with_owned_workdirs(
        self, text: str, bases: Mapping[str, Mapping[str, Any] | None]
    ) -> str:
        from ci.engine.execution import dockerfile as dockerfiles

        users = {
            name: str((base.get("Config") or {}).get("User") or "")
            for name, base in bases.items()
            if base
        }
        layer = Layer(entries={"empty": FOLDER})
        image = await self._rootfs.image(State(layers=(layer,)))
        # COPY --from takes a tag everywhere.
        name = self._store.tag(key_of("empty directory", image))
        empty = f"{REPOSITORY}:{name}"
        self._store.set(key_of("image", empty), {"image": empty})  # used now, for prune
        await self._daemon.call(self._daemon.client.tag, image, REPOSITORY, name)
        return dockerfiles.with_owned_workdirs(text, users, empty)

    async def _build(self, context: Tree, dockerfile: str, tag: str, options: Any) -> str:
        daemon, store = self._daemon, self._store

        def work() -> str:
            lines: list[str] = []
            for line in daemon.client.build(
                fileobj=archive.send(store, [("", context)]),
                custom_context=True,
                dockerfile=dockerfile,
                tag=tag,
                rm=True,
                forcerm=True,
                decode=True,
                buildargs=options["args"],
                target=options["target"],
            ):
                if error := reported_error(line):
                    raise EngineError(f"dockerBuild: {error}\n{''.join(lines[-20:])}")
                lines.append(line.get("stream", ""))
            return tag

        return await daemon.call(work)

    # --- publish and export -----------------------------------------------------------------
    async def image(self, container: Container, *, pushed: bool = False) -> str:
        """Return an image with a container's files and configuration."""
        state = await self._steps.files.state(container.files)
        return await self._rootfs.compose(state, config_of(container), pushed=pushed)

    async def publish(self, container: Container, address: str) -> str:
        """Push an image and return its name with the digest in the registry."""
        if container.annotations:  # the container engine writes the manifest, without them
            raise UnsupportedError("Container.publish after withAnnotation")
        ref = parse_reference(address)
        name = f"{ref.repository}:{ref.tag or 'latest'}"
        auth = await self.auth(container, ref.registry)
        image = await self.image(container, pushed=True)
        async with self.borrowed_tags.borrowed(name, image):
            digest = await self._daemon.push(ref.repository, ref.tag or "latest", auth)
        self._found.pop(name, None)
        self._options.log(f"publish {address}@{digest}")
        return f"{name}@{digest}"

    async def tarball(self, container: Container, form: "ArchiveFormat") -> tuple[str, int]:
        """Write an image as an OCI archive into the store; return its SHA-256 and size."""
        from ci.engine.store import oci

        layers = await self._rootfs.layers.files(await self.image(container))
        store, daemon = self._store, self._daemon
        chunks = oci.write(store, config_of(container), daemon.architecture, layers, form)
        return await daemon.call(store.write, chunks)

    async def export(self, container: Container, name: str) -> None:
        """Tag an image in the container engine itself."""
        daemon, ref = self._daemon, parse_reference(name)
        image = await self.image(container)
        await daemon.call(daemon.client.tag, image, ref.repository, ref.tag or "latest", force=True)

    async def from_local(self, name: str) -> Container:
        """Return a container of an image that the container engine has; nothing is pulled."""
        found = await self._inspect(name)
        empty = Container(platform=self._resources.platform)
        return await self.from_image(empty, found, self._full_name(name, found))

    async def from_archive(self, container: Container, file: File, tag: str) -> Container:
        """Return a container of an image in an archive."""
        from ci.engine.store import oci

        store, machine = self._store, self._daemon.architecture
        path = store.path(file.entry.content)
        config, layers = await anyio.to_thread.run_sync(oci.read, store, path, tag, machine)
        found = await self._inspect(await self._rootfs.layers.load(config, layers, ""))
        self._resources.require_platform(f"linux/{found['Architecture']}")
        return await self.from_image(container, found, "")

    async def variant(self, container: Container, others: list[Call]) -> Container:
        """Return the one container for this platform; more than one is an error.

        As in Dagger, a container without files is ignored where there are variants.
        """
        empty = isinstance(container.files, Image) and not container.files.id
        found = [] if empty and others else [container]
        found += [await self._evaluate(each) for each in others]
        if len(found) > 1:
            raise EngineError(
                f"{len(found)} containers for {container.platform}: an image of this engine has one"
            )
        return found[0]


#: What a daemon adds to an image's configuration: settings of a container.
_OF_CONTAINERS = (
    *("AttachStderr", "AttachStdin", "AttachStdout", "Domainname", "Hostname", "Image"),
    *("OpenStdin", "StdinOnce", "Tty"),
)
#: What a container has in fields of its own.
_OWN = (
    *("Cmd", "Entrypoint", "Env", "ExposedPorts", "Healthcheck", "Labels", "User", "WorkingDir"),
)


def _rest_of(config: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return what no field of a container holds: Volumes, StopSignal, Shell, OnBuild, others."""
    left_out = {*_OF_CONTAINERS, *_OWN}
    rest = {name: value for name, value in config.items() if value and name not in left_out}
    triggers = [*before.get("OnBuild", ()), *rest.get("OnBuild", ())]
    shell = rest.get("Shell") or before.get("Shell")
    return rest | ({"OnBuild": triggers} if triggers else {}) | ({"Shell": shell} if shell else {})


def _merged_env(container: Container, config: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    env = dict(text.partition("=")[::2] for text in config.get("Env") or [])
    env = {**dict(container.env), **env}
    # A process has a PATH anyway.
    return tuple((env if "PATH" in env else {"PATH": DEFAULT_PATH} | env).items())


def _merged_ports(container: Container, config: Mapping[str, Any]) -> tuple[Port, ...]:
    parts = [text.partition("/") for text in config.get("ExposedPorts") or {}]
    found = [Port(port=int(port), protocol=kind.upper() or "TCP") for port, _, kind in parts]
    known = {(each.port, each.protocol) for each in container.ports}
    return (*container.ports, *(p for p in found if (p.port, p.protocol) not in known))


def config_of(container: Container) -> dict[str, Any]:
    """Return the image configuration of a container: its base's, with what was changed."""
    config: dict[str, Any] = {
        **container.image_config,
        "Env": [f"{name}={value}" for name, value in container.env],
        "User": container.user,
        "WorkingDir": container.workdir,
        "Entrypoint": list(container.entrypoint),
        "Cmd": list(container.args),
        "Labels": dict(sorted(container.labels)),
        "ExposedPorts": {f"{p.port}/{p.protocol.lower()}": {} for p in container.ports},
        "Healthcheck": container.healthcheck and container.healthcheck.to_config(),
    }
    return {name: value for name, value in config.items() if value}
