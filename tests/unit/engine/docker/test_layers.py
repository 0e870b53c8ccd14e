"""Layers in the image stores of container engines, by the shapes of their documented APIs."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from ci.engine.docker.docker_api import DaemonError, real_tags, uses_containerd_store
from ci.engine.docker.layers import Layers
from ci.engine.errors import EngineError
from ci.engine.store import oci
from ci.engine.store.archive import plain
from ci.engine.store.cache import Store

DIFF = "sha256:" + hashlib.sha256(b"layer below").hexdigest()
BELOW = "sha256:" + "b" * 64
COMPRESSED: dict[str, Any] = {
    "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "digest": "sha256:" + "2" * 64,
    "size": 7,
}


def test_the_image_store_is_told_by_the_driver() -> None:
    containerd = {
        "Driver": "overlayfs",
        "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
    }
    graph = {"Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "extfs"]]}
    assert uses_containerd_store(containerd)
    assert not uses_containerd_store(graph)
    assert not uses_containerd_store({"Driver": "vfs", "DriverStatus": None})


def test_an_image_without_a_tag_has_none() -> None:
    listed: list[dict[str, Any]] = [{"RepoTags": None}, {"RepoTags": []}, {}]
    assert [real_tags(each) for each in (*listed, {"RepoTags": ["<none>:<none>"]})] == [[]] * 4
    assert real_tags({"RepoTags": ["a:1"]}) == ["a:1"]


def saved(diffs: list[str], layers: list[dict[str, Any]]) -> bytes:
    """Return what `docker save` sends of an image in the containerd store, its layers left out."""
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": diffs}}).encode()
    other = json.dumps({"config": {"digest": "sha256:0"}, "layers": []}).encode()
    manifest = json.dumps({"config": {"digest": digest(config)}, "layers": layers}).encode()
    blobs = [(f"blobs/sha256/{digest(each)[7:]}", each) for each in (manifest, other, config)]
    return b"".join(plain([("blobs/sha256/0", b"{ not JSON"), *blobs]))


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class FakeDaemon:
    """A container engine that has one image, and keeps what it is sent."""

    containerd: bool
    refuses: bool = False  # an archive without all layers
    ids: dict[str, str] = field(default_factory=lambda: {BELOW: BELOW})
    sent: list[dict[str, bytes]] = field(default_factory=list)
    saves: int = 0
    client: Any = field(default_factory=Mock)

    async def image(self, name: str) -> Any:
        return {"Id": name, "RootFS": {"Layers": [DIFF]}} if name in self.ids else None

    async def image_id(self, name: str) -> str | None:
        return self.ids.get(name)

    async def save(self, image: str, read: Callable[[Iterable[bytes]], Any]) -> Any:
        assert image == BELOW
        self.saves += 1
        return read(self._saved())

    def _saved(self) -> Iterator[bytes]:
        yield saved([DIFF], [COMPRESSED])
        assert self.refuses, "the layers are not read"
        yield from plain([("blobs/sha256/2", gzip.compress(b"layer below"))])
        yield b"\0" * 1024

    async def try_remove(self, remove: Callable[[str], None], name: str) -> bool:
        assert remove is self.client.remove_image
        return self.ids.pop(name, None) is not None

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    async def load(self, chunks: Iterable[bytes]) -> None:
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
            files = {each.name: tar.extractfile(each) for each in tar}
            found = {name: file.read() for name, file in files.items() if file}
        self.sent.append(found)
        name, target = tagged(found)
        self.ids[name] = target
        if self.refuses and b"layer below" not in found.values():
            raise DaemonError("Error unpacking image", 500)


def tagged(files: dict[str, bytes]) -> tuple[str, str]:
    """Return tag and id of a loaded image, as the two image stores have them."""
    if "index.json" in files:
        top = json.loads(files["index.json"])["manifests"][0]
        name = top["annotations"]["io.containerd.image.name"]
        return name.removeprefix("docker.io/library/"), top["digest"]
    manifest = json.loads(files["manifest.json"])[0]
    return manifest["RepoTags"][0], f"sha256:{manifest['Config'].removesuffix('.json')}"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def added(store: Store) -> tuple[str, Path]:
    """Return a new layer."""
    name = store.add_bytes(b"new layer")
    return f"sha256:{name}", store.path(name)


async def test_the_containerd_store_gets_the_descriptors_that_it_has(store: Store) -> None:
    daemon: Any = FakeDaemon(containerd=True)
    layers = Layers(store, daemon)
    diff, path = added(store)
    image = await layers.load(b'{"config": 1}', [(DIFF, None), (diff, path)], BELOW)
    files = daemon.sent[0]
    manifest = json.loads(files["blobs/" + image.replace(":", "/")])
    assert manifest["layers"][0] == COMPRESSED
    assert manifest["layers"][1]["digest"] == diff
    assert manifest["config"]["digest"] == digest(b'{"config": 1}')
    assert files["blobs/" + diff.replace(":", "/")] == b"new layer"
    assert "blobs/" + COMPRESSED["digest"].replace(":", "/") not in files
    again = await layers.load(b'{"config": 2}', [(DIFF, None)], BELOW)
    assert again != image
    assert daemon.saves == 1  # the second time they are known


async def test_what_the_containerd_store_pushes_is_compressed(store: Store) -> None:
    daemon: Any = FakeDaemon(containerd=True)
    layers = Layers(store, daemon)
    diff, path = added(store)
    plain_image = await layers.load(b"{}", [(DIFF, None), (diff, path)], BELOW)
    image = await layers.load(b"{}", [(DIFF, None), (diff, path)], BELOW, pushed=True)
    files = daemon.sent[1]
    below, own = json.loads(files["blobs/" + image.replace(":", "/")])["layers"]
    assert below == COMPRESSED
    assert own["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert gzip.decompress(files["blobs/" + own["digest"].replace(":", "/")]) == b"new layer"
    assert image != plain_image


async def test_a_graph_driver_gets_the_layers_that_it_has_not(store: Store) -> None:
    daemon: Any = FakeDaemon(containerd=False)
    diff, path = added(store)
    image = await Layers(store, daemon).load(b"{}", [(DIFF, None), (diff, path)], BELOW)
    assert image == digest(b"{}")
    assert daemon.sent[0][f"{diff[7:]}/layer.tar"] == b"new layer"
    assert f"{DIFF[7:]}/layer.tar" not in daemon.sent[0]
    assert daemon.saves == 0


async def test_an_image_that_is_there_is_not_sent_again(store: Store) -> None:
    daemon: Any = FakeDaemon(containerd=True)
    layers = Layers(store, daemon)
    assert await layers.load(b"{}", [], "") == await layers.load(b"{}", [], "")
    assert len(daemon.sent) == 1


@pytest.mark.parametrize("containerd", [True, False])
async def test_an_engine_that_wants_all_layers_gets_them(store: Store, *, containerd: bool) -> None:
    daemon: Any = FakeDaemon(containerd=containerd, refuses=True)
    diff, path = added(store)
    image = await Layers(store, daemon).load(b"{}", [(DIFF, None), (diff, path)], BELOW)
    assert image in daemon.ids.values()
    assert len(daemon.sent) == 2
    assert {b"layer below", b"new layer"} <= set(daemon.sent[1].values())


def test_an_image_without_its_manifest_is_an_error() -> None:
    chunks = [saved(["sha256:other"], [COMPRESSED]) + b"\0" * 1024]
    with pytest.raises(EngineError, match="without its manifest"):
        oci.saved_layers(chunks, [DIFF])
