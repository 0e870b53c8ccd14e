"""Image archives: OCI layouts are written; OCI layouts and `docker save` archives are read.

An archive is never unpacked: only what its index names is read, and the digest of every content is
checked.
"""

import gzip
import hashlib
import json
import sys
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from ci.engine.errors import EngineError, UnsupportedError
from ci.engine.store import archive
from ci.engine.store.cache import CHUNK, Store
from ci.engine.store.tree import FILE, Entry

if TYPE_CHECKING:
    import io

_OCI, _DOCKER = "application/vnd.oci.image", "application/vnd.docker"
_TYPES = {
    "OCI": {
        "config": f"{_OCI}.config.v1+json",
        "manifest": f"{_OCI}.manifest.v1+json",
        "layer": f"{_OCI}.layer.v1.tar",
        "gzip": f"{_OCI}.layer.v1.tar+gzip",
    },
    "DOCKER": {
        "config": f"{_DOCKER}.container.image.v1+json",
        "manifest": f"{_DOCKER}.distribution.manifest.v2+json",
        "layer": f"{_DOCKER}.image.rootfs.diff.tar",
        "gzip": f"{_DOCKER}.image.rootfs.diff.tar.gzip",
    },
}
_INDEX = f"{_OCI}.index.v1+json"
#: Annotations with the tag of a manifest in an archive's index.
_NAMES = ("org.opencontainers.image.ref.name", "io.containerd.image.name")
_DAMAGED = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile)
#: Errors for JSON of an unexpected shape.
_MISSHAPEN = (LookupError, ValueError, TypeError, AttributeError)
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
#: Longest configuration or manifest, bytes: containerd's own limit.
_LONGEST = 8 << 20


@dataclass(frozen=True, kw_only=True)
class ArchiveFormat:
    """The format in which an archive is written."""

    types: str = "OCI"  # or DOCKER
    gzip: bool = False
    annotations: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(
        cls, media_types: str, compression: str | None, annotations: dict[str, str]
    ) -> "ArchiveFormat":
        """Return the format for values of the API; raises `UnsupportedError`."""
        wanted = (compression or "Uncompressed").lower()
        if wanted not in ("gzip", "uncompressed"):
            raise UnsupportedError(f"compression {compression}")
        types = "DOCKER" if media_types.upper().startswith("DOCKER") else "OCI"
        return cls(types=types, gzip=wanted == "gzip", annotations=annotations)


PLAIN = ArchiveFormat()


# --- writing --------------------------------------------------------------------------------
def write(
    store: Store,
    config: dict[str, Any],
    architecture: str,
    layers: list[tuple[str, Path]],
    form: ArchiveFormat,
) -> Iterator[bytes]:
    """Yield an OCI image layout with every layer (diff id, file) as a tar stream."""
    diffs = {"type": "layers", "diff_ids": [diff for diff, _ in layers]}
    data = _json({"architecture": architecture, "os": "linux", "config": config, "rootfs": diffs})
    files = [compress_layer(store, path) if form.gzip else (diff, path) for diff, path in layers]
    yield from layout(data, [(described_layer(*each, form), each[1]) for each in files], form)


def described_layer(digest: str, path: Path, form: ArchiveFormat = PLAIN) -> dict[str, Any]:
    """Return the descriptor of a layer's file."""
    kind = _TYPES[form.types]["gzip" if form.gzip else "layer"]
    return {"mediaType": kind, "digest": digest, "size": path.stat().st_size}


def layout(
    config: bytes,
    layers: list[tuple[dict[str, Any], Path | None]],
    form: ArchiveFormat,
    name: str = "",
) -> Iterator[bytes]:
    """Yield an OCI image layout as a tar stream (OCI image specification 1.0).

    If it is complete, every version of `docker load` reads it too, by its `manifest.json`.

    Args:
        config: the image's configuration.
        layers: descriptor and file of every layer; None for a file that the reader has already.
        form: the media types, and annotations of the manifest.
        name: under which Docker's containerd store keeps the image.
    """
    types = _TYPES[form.types]
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": types["manifest"],
        "config": {"mediaType": types["config"]} | _described(config),
        "layers": [descriptor for descriptor, _ in layers],
    }
    if form.annotations:
        manifest["annotations"] = dict(sorted(form.annotations.items()))
    top: dict[str, Any] = {"mediaType": types["manifest"]} | _described(_json(manifest))
    if name:
        top["annotations"] = {_NAMES[1]: f"docker.io/library/{name}"}
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [top]}
    heads = {"index.json": _json(index), "oci-layout": _json({"imageLayoutVersion": "1.0.0"})}
    if all(path is not None for _, path in layers):
        heads["manifest.json"] = _json([_docker_manifest(manifest)])
    yield from archive.plain(heads.items())
    blobs = (config, _json(manifest))
    yield from archive.plain((_place(_described(each)["digest"]), each) for each in blobs)
    for digest, path in {each["digest"]: path for each, path in layers}.items():
        if path is not None:
            yield from archive.member(_place(digest), Entry(FILE, 0o644), path)
    yield archive.END


def _docker_manifest(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the entry for an image in the `manifest.json` of `docker save`."""
    layers = [_place(each["digest"]) for each in manifest["layers"]]
    return {"Config": _place(manifest["config"]["digest"]), "RepoTags": None, "Layers": layers}


def compress_layer(store: Store, path: Path) -> tuple[str, Path]:
    """Compress a layer reproducibly; return its digest and its file."""
    with path.open("rb") as source, store.writer() as (file, done):
        packer = zlib.compressobj(6, zlib.DEFLATED, 31)  # 31: with gzip's header, without a time
        while chunk := source.read(CHUNK):
            file.write(packer.compress(chunk))
        file.write(packer.flush())
    return f"sha256:{done[0]}", store.path(done[0])


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _described(data: bytes) -> dict[str, Any]:
    return {"digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}


def _place(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


# --- reading --------------------------------------------------------------------------------
def read(
    store: Store, path: Path, tag: str, architecture: str
) -> tuple[bytes, list[tuple[str, Path]]]:
    """Read one image of an archive: its configuration, and diff id and file of its layers.

    The archive is an OCI layout or the output of `docker save`, compressed or not; `tag` selects
    one of several images, `architecture` one of several platforms.

    Raises:
        EngineError: it is not such an archive, has no such tag, or a digest is wrong.
    """
    try:
        with tarfile.open(path) as tar:
            return _Archive(store, tar).image(tag, architecture)
    except (*_DAMAGED, *_MISSHAPEN) as error:
        raise EngineError(f"not an image archive: {error}") from error


class _Archive:
    def __init__(self, store: Store, tar: tarfile.TarFile) -> None:
        self._store = store
        self._tar = tar

    def image(self, tag: str, architecture: str) -> tuple[bytes, list[tuple[str, Path]]]:
        names = self._tar.getnames()
        if "index.json" in names:
            config, layers = self._layout(tag, architecture)
        elif "manifest.json" in names:
            config, layers = self._saved(tag)
        else:
            raise EngineError("not an image archive: it has no index.json and no manifest.json")
        diffs = json.loads(config)["rootfs"]["diff_ids"]
        if len(diffs) != len(layers):
            raise EngineError("not an image archive: the number of layers is wrong")
        pairs = zip(diffs, layers, strict=True)
        return config, [(diff, self._layer(diff, name)) for diff, name in pairs]

    def _layout(self, tag: str, architecture: str) -> tuple[bytes, list[str]]:
        found = json.loads(self._whole("index.json"))
        named = [each for each in found["manifests"] if _is(tag, _labels(each))]
        manifest = json.loads(self._blob(_only(named, tag)["digest"]))
        if "manifests" in manifest:
            fitting = [
                each
                for each in manifest["manifests"]
                if each.get("platform", {}).get("architecture") == architecture
            ]
            manifest = json.loads(self._blob(_only(fitting[:1], architecture)["digest"]))
        layers = [_place(each["digest"]) for each in manifest["layers"]]
        return self._blob(manifest["config"]["digest"]), layers

    def _saved(self, tag: str) -> tuple[bytes, list[str]]:
        found = json.loads(self._whole("manifest.json"))
        each = _only([each for each in found if _is(tag, each.get("RepoTags") or [])], tag)
        return self._whole(each["Config"]), each["Layers"]

    def _blob(self, digest: str) -> bytes:
        data = self._whole(_place(digest))
        if _described(data)["digest"] != digest:
            raise EngineError(f"the image archive is damaged: {digest} has another digest")
        return data

    def _whole(self, name: str) -> bytes:
        with self._file(name) as file:
            return file.read()

    def _file(self, name: str) -> IO[bytes]:
        file = self._tar.extractfile(name)
        if file is None:
            raise EngineError(f"not an image archive: {name} is not a file")
        return file

    def _layer(self, diff: str, name: str) -> Path:
        with self._file(name) as file:
            digest, _ = self._store.add(decompressed(file))
        if f"sha256:{digest}" != diff:
            raise EngineError(f"the image archive is damaged: layer {diff} has another digest")
        return self._store.path(digest)


def decompressed(file: IO[bytes]) -> IO[bytes]:
    """Return a layer's file without its compression: gzip, zstd or none."""
    start = cast("io.BufferedReader", file).peek(len(_ZSTD))
    if start.startswith(_GZIP):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    if start.startswith(_ZSTD):
        if sys.version_info >= (3, 14):  # late: few images need it
            from compression import zstd
        else:
            from backports import zstd
        return cast("IO[bytes]", zstd.open(file))
    return file


def saved_layers(chunks: Iterable[bytes], diff_ids: list[str]) -> list[dict[str, Any]]:
    """Return the descriptors of the layers with these diff ids, from a saved OCI layout.

    Nothing is read after the image's manifest and configuration. They are found by what is in
    them: the layout may have several platforms and attestations.
    """
    found: dict[str, dict[str, Any]] = {}
    for info, file in archive.members(chunks):
        if file is None or info.size > _LONGEST:
            continue
        data = file.read()
        if (value := _object(data)) is not None:
            found[_described(data)["digest"]] = value
            for each in found.values():
                config = found.get((each.get("config") or {}).get("digest", ""))
                if config and config.get("rootfs", {}).get("diff_ids") == diff_ids:
                    return list(each["layers"])
    raise EngineError("the container engine saved the image without its manifest")


def _object(data: bytes) -> dict[str, Any] | None:
    """Return a JSON object, None for other data."""
    try:
        value = json.loads(data) if data.startswith(b"{") else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _labels(described: dict[str, Any]) -> list[str]:
    annotations = described.get("annotations") or {}
    return [annotations[name] for name in _NAMES if name in annotations]


def _is(tag: str, names: list[str]) -> bool:
    return not tag or any(name == tag or name.endswith(f":{tag}") for name in names)


def _only(found: list[Any], wanted: str) -> Any:
    if len(found) != 1:
        what = f"{len(found)} images" + f" for {wanted}" * bool(wanted)
        raise EngineError(f"the image archive has {what} instead of one")
    return found[0]
