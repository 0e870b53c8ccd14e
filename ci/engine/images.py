"""Images: found, pulled, built from a Dockerfile, published, written as OCI archives."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci.engine import archive
from ci.engine.daemon import REPOSITORY
from ci.engine.errors import EngineError
from ci.engine.files import State
from ci.engine.store import Store, key_of
from ci.engine.tree import Tree, lookup, put
from ci.engine.values import Container, Image, Port

if TYPE_CHECKING:
    from ci.engine.engine import Engine

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OCI = "application/vnd.oci.image"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """An image's name in its parts."""

    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def registry(self) -> str:
        """The host, `docker.io` where the name says none."""
        host, slash, _ = self.repository.partition("/")
        named = slash and ("." in host or ":" in host or host == "localhost")
        return host if named else "docker.io"


def parse(text: str) -> Reference:
    """Return the parts of `host:port/name:tag@sha256:...`."""
    name, _, digest = text.partition("@")
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        head, tag = name, ""
    return Reference(repository=head, tag=tag, digest=digest)


class Images:
    """All that is done with whole images."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    # --- from -------------------------------------------------------------------------------
    async def start(self, container: Container, address: str) -> Container:
        """Return a container of an image, substituted where the options say so."""
        wanted = self._engine.options.images.get(address, address)
        if wanted != address:
            self._engine.options.log(f"from {address}: using {wanted} instead")
        found = await self._find(container, wanted)
        return await self.adopt(container, found, self._named(wanted, found))

    async def _find(self, container: Container, address: str) -> dict[str, Any]:
        daemon, ref = self._engine.daemon, parse(address)
        for name in (address, ref.repository + "@" + ref.digest, ref.digest):
            if name and not name.endswith("@") and (found := await daemon.image(name)):
                return found
        name = f"{ref.repository}@{ref.digest}" if ref.digest else address
        name = name if ref.tag or ref.digest else f"{name}:latest"
        self._engine.options.log(f"pull {name}")
        await daemon.pull(name, await self.auth(container, ref.registry))
        found = await daemon.image(name)
        if found is None:
            raise EngineError(f"image {address} was pulled but is not there")
        return found

    def _named(self, address: str, found: Mapping[str, Any]) -> str:
        """Return the image's name with its digest."""
        ref = parse(address)
        tagged = f"{ref.repository}:{ref.tag or 'latest'}" if ref.tag or not ref.digest else ""
        for known in found.get("RepoDigests") or []:
            repository, _, digest = known.partition("@")
            if repository == ref.repository:
                return f"{tagged or ref.repository}@{digest}"
        return f"{tagged or ref.repository}@{found['Id']}"

    async def adopt(
        self, container: Container, found: Mapping[str, Any], reference: str
    ) -> Container:
        """Return a container with an image's files and configuration."""
        from dataclasses import replace

        config = found.get("Config") or {}
        bare = await self._engine.rootfs.composed(
            State(image=found["Id"]), {}, found["Architecture"]
        )
        ports = [text.partition("/") for text in config.get("ExposedPorts") or {}]
        return replace(
            container,
            files=Image(id=bare),
            image_ref=reference,
            env=_with_path(tuple(_pair(text) for text in config.get("Env") or [])),
            user=config.get("User") or "",
            workdir=config.get("WorkingDir") or "",
            entrypoint=tuple(config.get("Entrypoint") or ()),
            args=tuple(config.get("Cmd") or ()),
            labels=tuple((config.get("Labels") or {}).items()),
            ports=tuple(
                Port(port=int(p), protocol=proto.upper() or "TCP") for p, _, proto in ports
            ),
        )

    async def auth(self, container: Container, registry: str) -> dict[str, str] | None:
        """Return what a registry asks for, None where nothing was given for it."""
        for address, user, secret in container.auth:
            if parse(f"{address.removeprefix('https://')}/x").registry == registry:
                return {"username": user, "password": (await self._engine.reveal(secret)).decode()}
        return None

    # --- build ------------------------------------------------------------------------------
    async def build(self, context: Tree, dockerfile: str, **options: Any) -> Container:
        """Build a Dockerfile with Docker's own builder."""
        store, daemon = self._engine.store, self._engine.daemon
        _, entry = lookup(context, dockerfile)
        text = substituted(store.read(entry.content).decode(), self._engine.options.images)
        content = store.add_bytes(text.encode())
        file = entry._replace(content=content, size=len(text.encode()))
        context = put(context, dockerfile, Tree({"": file}))
        bases = [await daemon.image(name) for name in _bases(text)]
        key = key_of("build", context.digest, dockerfile, options, [b and b["Id"] for b in bases])
        known = store.get(key)
        if known is None or await daemon.image(known) is None:
            known = await self._build(context, dockerfile, f"{REPOSITORY}:{key[:40]}", options)
            store.set(key, known)
        found = await daemon.image(known)
        if found is None:
            raise EngineError(f"image {known} was built but is not there")
        return await self.adopt(Container(platform=self._engine.platform), found, "")

    async def _build(self, context: Tree, dockerfile: str, tag: str, options: Any) -> str:
        daemon, store = self._engine.daemon, self._engine.store

        def work() -> str:
            stream = archive.Stream(archive.send(store, [("", context)]))
            lines: list[str] = []
            for line in daemon.client.build(
                fileobj=stream,
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
        state = await self._engine.steps.state(container.files)
        architecture = container.platform.split("/")[1]
        return await self._engine.rootfs.composed(state, config_of(container), architecture)

    async def publish(self, container: Container, address: str) -> str:
        """Push an image and return its name with the digest that the registry has."""
        daemon, ref = self._engine.daemon, parse(address)
        tag = ref.tag or "latest"
        image = await self.image(container)
        await daemon.call(daemon.client.tag, image, ref.repository, tag, force=True)
        try:
            auth = await self.auth(container, ref.registry)
            digest = await daemon.push(ref.repository, tag, auth)
        finally:
            name = f"{ref.repository}:{tag}"
            await daemon.call(daemon.client.remove_image, name, noprune=True)
        self._engine.options.log(f"publish {address}@{digest}")
        return f"{ref.repository}:{tag}@{digest}"

    async def tarball(self, container: Container) -> tuple[str, int]:
        """Write an image as an OCI archive into the store; return its SHA-256 and size."""
        image = await self.image(container)
        layers = await self._engine.rootfs.layers(image)
        architecture = container.platform.split("/")[1]
        store = self._engine.store

        def work() -> tuple[str, int]:
            with store.writer() as (file, done):
                for chunk in oci(config_of(container), architecture, layers):
                    file.write(chunk)
            return done[0], done[1]

        return await self._engine.daemon.call(work)


def config_of(container: Container) -> dict[str, Any]:
    """Return what an image says of how to run it."""
    config: dict[str, Any] = {
        "Env": [f"{name}={value}" for name, value in container.env],
        "User": container.user,
        "WorkingDir": container.workdir,
        "Entrypoint": list(container.entrypoint),
        "Cmd": list(container.args),
        "Labels": dict(sorted(container.labels)),
        "ExposedPorts": {f"{p.port}/{p.protocol.lower()}": {} for p in container.ports},
    }
    return {name: value for name, value in config.items() if value}


def oci(config: dict[str, Any], architecture: str, layers: Mapping[str, Path]) -> Iterator[bytes]:
    """Yield an OCI image layout as a tar stream (OCI image specification 1.0)."""
    body = {
        "architecture": architecture,
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": list(layers)},
    }
    data = _json(body)
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": {"mediaType": f"{OCI}.config.v1+json"} | _described(data),
        "layers": [
            {"mediaType": f"{OCI}.layer.v1.tar", "digest": diff, "size": path.stat().st_size}
            for diff, path in layers.items()
        ],
    }
    top = {"mediaType": f"{OCI}.manifest.v1+json"} | _described(_json(manifest))
    index = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": [top]}
    files = [_json(index), _json({"imageLayoutVersion": "1.0.0"})]
    yield from archive.plain(zip(("index.json", "oci-layout"), files, strict=True))
    yield from archive.plain(
        (_blob(_described(each)["digest"]), each) for each in (data, _json(manifest))
    )
    for diff, path in dict(layers).items():
        yield from archive.member(_blob(diff), path)
    yield b"\0" * 1024


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _described(data: bytes) -> dict[str, Any]:
    return {"digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _with_path(env: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Return an environment with the path that programs get anyway, where it says none."""
    return env if "PATH" in dict(env) else (("PATH", DEFAULT_PATH), *env)


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


_FROM = re.compile(r"^(\s*FROM\s+(?:--\S+\s+)*)(\S+)", re.IGNORECASE | re.MULTILINE)


def _bases(dockerfile: str) -> list[str]:
    return [hit[2] for hit in _FROM.finditer(dockerfile)]


def substituted(dockerfile: str, images: Mapping[str, str]) -> str:
    """Return a Dockerfile with the images of its FROM lines replaced where a substitute is set."""
    return _FROM.sub(lambda hit: hit[1] + images.get(hit[2], hit[2]), dockerfile)


__all__ = ["Images", "Reference", "Store", "parse", "substituted"]
