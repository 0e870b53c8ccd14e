"""Whole images: find, pull, build from a Dockerfile, publish, write to and read from archives."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import anyio.to_thread
from docker.auth import resolve_repository_name
from docker.utils import parse_repository_tag

from ci.engine.errors import EngineError, UnsupportedError
from ci.engine.execution.docker_api import REPOSITORY
from ci.engine.execution.resources import Evaluate, Resources, Reveal
from ci.engine.execution.rootfs import State
from ci.engine.execution.steps import Steps
from ci.engine.healthcheck import Healthcheck
from ci.engine.ids import Call
from ci.engine.store import archive, oci, tree
from ci.engine.store.cache import Store, key_of
from ci.engine.store.oci import ArchiveFormat
from ci.engine.store.tree import Tree, lookup, with_file
from ci.engine.values import Container, File, Image, Port

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

    # --- from -------------------------------------------------------------------------------
    async def from_address(self, container: Container, address: str) -> Container:
        """Return a container of an image, or of the image that the options use instead."""
        wanted = self._options.images.get(address, address)
        if wanted != address:
            self._options.log(f"from {address}: using {wanted} instead")
        found = await self._find(container, wanted)
        return await self.from_image(container, found, self._full_name(wanted, found))

    async def _find(self, container: Container, address: str) -> dict[str, Any]:
        daemon, ref = self._daemon, parse_reference(address)
        end = f"@{ref.digest}" if ref.digest else f":{ref.tag or 'latest'}"
        name = ref.repository + end
        for known in filter(None, (address, ref.digest and name, ref.digest)):
            if found := await daemon.image(known):
                return found
        self._options.log(f"pull {name}")
        await daemon.pull(name, await self.auth(container, ref.registry))
        return await self._inspect(name)

    async def _inspect(self, name: str) -> dict[str, Any]:
        found = await self._daemon.image(name)
        if found is None:
            raise EngineError(f"image {name}: the container engine has no image of that name")
        return found

    def _full_name(self, address: str, found: Mapping[str, Any]) -> str:
        """Return the image's name with its digest."""
        ref = parse_reference(address)
        tagged = f"{ref.repository}:{ref.tag or 'latest'}" if ref.tag or not ref.digest else ""
        for known in found.get("RepoDigests") or []:
            repository, _, digest = known.partition("@")
            if repository == ref.repository:
                return f"{tagged or ref.repository}@{digest}"
        return f"{tagged or ref.repository}@{found['Id']}"

    async def from_image(
        self, container: Container, found: Mapping[str, Any], reference: str
    ) -> Container:
        """Return a container with an image's files and configuration."""
        config = found.get("Config") or {}
        bare = await self._rootfs.compose(State(image=found["Id"]), {})
        ports = [text.partition("/") for text in config.get("ExposedPorts") or {}]
        env = dict(text.partition("=")[::2] for text in config.get("Env") or [])
        env = env if "PATH" in env else {"PATH": DEFAULT_PATH} | env  # a process has one anyway
        return replace(
            container,
            files=Image(id=bare),
            image_ref=reference,
            env=tuple(env.items()),
            user=config.get("User") or "",
            workdir=config.get("WorkingDir") or "",
            entrypoint=tuple(config.get("Entrypoint") or ()),
            args=tuple(config.get("Cmd") or ()),
            labels=tuple((config.get("Labels") or {}).items()),
            healthcheck=Healthcheck.from_config(config.get("Healthcheck")),
            ports=tuple(
                Port(port=int(p), protocol=proto.upper() or "TCP") for p, _, proto in ports
            ),
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
        store, daemon = self._store, self._daemon
        context = without_ignored(store, context, dockerfile)
        _, entry = lookup(context, dockerfile)
        text = with_substitutes(store.read(entry.content).decode(), self._options.images)
        content = store.add_bytes(text.encode())
        file = entry._replace(content=content, size=len(text.encode()))
        context = with_file(context, dockerfile, file)
        bases = [await daemon.image(name) for _, name in _FROM.findall(text)]
        key = key_of("build", context.key, dockerfile, options, [b and b["Id"] for b in bases])
        known = store.get(key)
        if known is None or await daemon.image(known) is None:
            known = await self._build(context, dockerfile, f"{REPOSITORY}:{key[:40]}", options)
            store.set(key, known)
        empty = Container(platform=self._resources.platform)
        return await self.from_image(empty, await self._inspect(known), "")

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
                if "error" in line:
                    raise EngineError(f"dockerBuild: {line['error']}\n{''.join(lines[-20:])}")
                lines.append(line.get("stream", ""))
            return tag

        return await daemon.call(work)

    # --- publish and export -----------------------------------------------------------------
    async def image(self, container: Container) -> str:
        """Return an image with a container's files and configuration."""
        state = await self._steps.files.state(container.files)
        return await self._rootfs.compose(state, config_of(container))

    async def publish(self, container: Container, address: str) -> str:
        """Push an image and return its name with the digest in the registry."""
        if container.annotations:  # the container engine writes the manifest, without them
            raise UnsupportedError("Container.publish after withAnnotation")
        daemon, ref = self._daemon, parse_reference(address)
        tag = ref.tag or "latest"
        image = await self.image(container)
        await daemon.call(daemon.client.tag, image, ref.repository, tag, force=True)
        try:
            auth = await self.auth(container, ref.registry)
            digest = await daemon.push(ref.repository, tag, auth)
        finally:
            name = f"{ref.repository}:{tag}"
            await daemon.call(daemon.client.remove_image, name, noprune=True)
        self._options.log(f"publish {address}@{digest}")
        return f"{ref.repository}:{tag}@{digest}"

    async def tarball(self, container: Container, form: ArchiveFormat) -> tuple[str, int]:
        """Write an image as an OCI archive into the store; return its SHA-256 and size."""
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


def config_of(container: Container) -> dict[str, Any]:
    """Return the image configuration of a container."""
    config: dict[str, Any] = {
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


def without_ignored(store: Store, context: Tree, dockerfile: str) -> Tree:
    """Return a build's context without the paths in `.dockerignore`: the builder does not read it.

    A `NAME.dockerignore` beside the Dockerfile replaces the one of the context.
    """
    names = (f"{tree.clean(dockerfile)}.dockerignore", ".dockerignore")
    name = next((name for name in names if name in context.entries), None)
    if name is None:
        return context
    lines = store.read(context.entries[name].content).decode().splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    kept = tree.select(context, (), patterns)
    return with_file(kept, dockerfile, lookup(context, dockerfile)[1])


_FROM = re.compile(r"^(\s*FROM\s+(?:--\S+\s+)*)(\S+)", re.IGNORECASE | re.MULTILINE)


def with_substitutes(dockerfile: str, images: Mapping[str, str]) -> str:
    """Return a Dockerfile whose FROM lines name the substitutes of their images."""
    return _FROM.sub(lambda hit: hit[1] + images.get(hit[2], hit[2]), dockerfile)
