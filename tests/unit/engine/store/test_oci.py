import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from ci.engine.errors import EngineError, UnsupportedError
from ci.engine.store import oci
from ci.engine.store.archive import plain
from ci.engine.store.cache import Store
from ci.engine.store.oci import ArchiveFormat

CONFIG = {"Env": ["A=1"], "Labels": {"l": "v"}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def layer(store: Store, text: bytes) -> tuple[str, Path]:
    data = b"".join(plain([("f", text)])) + b"\0" * 1024
    digest = store.add_bytes(data)
    return f"sha256:{digest}", store.path(digest)


def written(store: Store, path: Path, form: ArchiveFormat) -> list[tuple[str, Path]]:
    layers = [layer(store, text) for text in (b"one", b"two", b"one")]  # equal layers stay
    path.write_bytes(b"".join(oci.write(store, CONFIG, "amd64", layers, form)))
    return layers


def manifest(path: Path) -> dict[str, Any]:
    with tarfile.open(path) as tar:

        def read(name: str) -> Any:
            file = tar.extractfile(name)
            assert file is not None
            return json.load(file)

        top = read("index.json")["manifests"][0]
        found: dict[str, Any] = read("blobs/" + top["digest"].replace(":", "/"))
        assert found["mediaType"] == top["mediaType"]
        return found


FORMS = [
    ArchiveFormat(),
    ArchiveFormat(gzip=True),
    ArchiveFormat(types="DOCKER"),
    ArchiveFormat(annotations={"a": "b"}),
]


@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_is_what_is_read(store: Store, tmp_path: Path, form: ArchiveFormat) -> None:
    layers = written(store, tmp_path / "i.tar", form)
    config, found = oci.read(Store(tmp_path / "other"), tmp_path / "i.tar", "", "amd64")
    assert json.loads(config)["config"] == CONFIG
    assert [p.read_bytes() for _, p in found] == [p.read_bytes() for _, p in layers]
    assert [diff for diff, _ in found] == [diff for diff, _ in layers]
    assert len(manifest(tmp_path / "i.tar")["layers"]) == 3


@pytest.mark.parametrize("form", FORMS)
def test_docker_load_reads_what_is_written(
    store: Store, tmp_path: Path, form: ArchiveFormat
) -> None:
    written(store, tmp_path / "i.tar", form)
    with tarfile.open(tmp_path / "i.tar") as tar:
        (row,) = json.load(tar.extractfile("manifest.json") or io.BytesIO())
        config = json.load(tar.extractfile(row["Config"]) or io.BytesIO())
        names = [tar.extractfile(name) for name in row["Layers"]]
    assert config["config"] == CONFIG
    assert len(names) == len(config["rootfs"]["diff_ids"]) == 3


def test_the_form_is_in_the_manifest_and_the_bytes_are_the_same(
    store: Store, tmp_path: Path
) -> None:
    form = ArchiveFormat.parse("DockerMediaTypes", "Gzip", {"who": "me"})
    for name in ("a", "b"):
        written(store, tmp_path / name, form)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    found = manifest(tmp_path / "a")
    assert found["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert found["annotations"] == {"who": "me"}
    assert {each["mediaType"] for each in found["layers"]} == {
        "application/vnd.docker.image.rootfs.diff.tar.gzip"
    }
    with pytest.raises(UnsupportedError, match="compression Zstd"):
        ArchiveFormat.parse("OCIMediaTypes", "Zstd", {})


# --- archives of others -----------------------------------------------------------------------
def tar(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w") as made:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
        for name, to in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, to
            made.addfile(info)
    return path


def saved(diffs: list[str], tags: list[str]) -> dict[str, bytes]:
    config = json.dumps({"rootfs": {"diff_ids": diffs}}).encode()
    rows = [{"Config": "c.json", "RepoTags": tags, "Layers": ["a/layer.tar", "b/layer.tar"]}]
    return {"c.json": config, "manifest.json": json.dumps(rows).encode()}


def test_what_docker_saves_is_read_links_between_layers_too(store: Store, tmp_path: Path) -> None:
    diff = "sha256:" + hashlib.sha256(b"data").hexdigest()
    files = {"a/layer.tar": b"data", **saved([diff, diff], ["app:1"])}
    path = tar(tmp_path / "s.tar", files, {"b/layer.tar": "../a/layer.tar"})
    assert [each for each, _ in oci.read(store, path, "1", "amd64")[1]] == [diff, diff]
    with pytest.raises(EngineError, match="0 images for 2"):
        oci.read(store, path, "2", "amd64")


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstd.compress])
def test_a_layer_with_any_compression_is_read(
    store: Store, tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    diff = "sha256:" + hashlib.sha256(b"data").hexdigest()
    files = {"a/layer.tar": compress(b"data"), **saved([diff, diff], [])}
    path = tar(tmp_path / "s.tar", files, {"b/layer.tar": "../a/layer.tar"})
    (_, found), (_, again) = oci.read(store, path, "", "amd64")[1]
    assert found.read_bytes() == again.read_bytes() == b"data"


def test_a_content_that_is_not_what_its_name_says_is_refused(store: Store, tmp_path: Path) -> None:
    diff = "sha256:" + hashlib.sha256(b"data").hexdigest()
    files = {"a/layer.tar": b"evil", "b/layer.tar": b"data", **saved([diff, diff], [])}
    with pytest.raises(EngineError, match="damaged: layer"):
        oci.read(store, tar(tmp_path / "s.tar", files), "", "amd64")
    assert not store.has(hashlib.sha256(b"data").hexdigest())
    index = json.dumps({"manifests": [{"digest": diff}]}).encode()
    place = "blobs/" + diff.replace(":", "/")
    with pytest.raises(EngineError, match="damaged: sha256"):
        oci.read(store, tar(tmp_path / "o.tar", {"index.json": index, place: b"evil"}), "", "amd64")


@pytest.mark.parametrize(
    "data",
    [b"", b"no tar at all" * 100, gzip.compress(b"x" * 4000, mtime=0), b"\x1f\x8b broken"],
)
def test_what_is_no_archive_is_said_to_be_none(store: Store, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(EngineError, match="not an image archive"):
        oci.read(store, tmp_path / "x", "", "amd64")


@pytest.mark.parametrize(
    "files",
    [
        {"other": b""},
        {"index.json": b"{}"},
        {"index.json": b'{"manifests": [{"digest": "sha256:../../../etc/passwd"}]}'},
        {"manifest.json": b'[{"Config": "../c.json", "Layers": []}]'},
        {"manifest.json": b"[1]"},
    ],
)
def test_an_archive_that_names_what_it_lacks_is_refused(
    store: Store, tmp_path: Path, files: dict[str, bytes]
) -> None:
    with pytest.raises(EngineError, match="not an image archive"):
        oci.read(store, tar(tmp_path / "x.tar", files), "", "amd64")
