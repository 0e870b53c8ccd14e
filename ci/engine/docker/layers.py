"""Layers of the container engine's images: sent to it, and read from it.

Podman and Docker's graph drivers name an image by its configuration, and load an archive without
the layers that they have. Docker's containerd store names an image by its manifest, which lists
the layers as they are stored: compressed, under the digests of the compressed files. There an
image that is made of another one repeats that part of its manifest. The API shows a manifest only
inside `docker save`, so what was read of it is kept in the store.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ci.engine.docker.docker_api import REPOSITORY, Daemon, DaemonError
from ci.engine.errors import EngineError
from ci.engine.store import archive
from ci.engine.store.cache import Store, key_of

#: End of the tag of an image whose layers all have a compression.
COMPRESSED = "-gzip"
#: Diff id and file of every layer, lowest first; None for a layer of the image below.
LayerFiles = Sequence[tuple[str, Path | None]]


class Layers:
    """Creates images of layers, and reads the layers of images."""

    def __init__(self, store: Store, daemon: Daemon) -> None:
        self._store = store
        self._daemon = daemon
        self._diff_ids: dict[str, list[str]] = {}

    async def diff_ids(self, image: str) -> list[str]:
        """Return the diff ids of an image's layers, lowest first."""
        if not image:
            return []
        if image not in self._diff_ids:
            found = await self._daemon.image(image)
            if found is None:
                raise EngineError(
                    f"image {image} was removed from the container engine; run the step again"
                )
            self._diff_ids[image] = found["RootFS"].get("Layers") or []
        return self._diff_ids[image]

    async def files(self, image: str) -> list[tuple[str, Path]]:
        """Return diff id and file of every layer of an image; fetch the image if needed."""
        wanted = await self.diff_ids(image)
        paths = [(diff, self._store.path(diff.partition(":")[2])) for diff in wanted]
        if not all(path.exists() for _, path in paths):
            await self._daemon.save(image, partial(_store_layers, self._store))
        return paths

    async def load(
        self, config: bytes, layers: LayerFiles, below: str, *, pushed: bool = False
    ) -> str:
        """Return the id of the image of a configuration and layers; load it if it is missing.

        Layers of the image below are sent only if the container engine refuses to do without.
        Docker's containerd store pushes layers as it has them: for an image that is `pushed` they
        are compressed before.
        """
        name = hashlib.sha256(config).hexdigest()
        pushed = pushed and self._daemon.containerd
        tag = f"{REPOSITORY}:{self._store.tag(name)}" + COMPRESSED * pushed
        self._store.set(key_of("image", tag), {"image": tag})  # used now, for prune
        found = await self._daemon.image_id(tag)
        if found is None:
            await self._load(config, tag, layers, below)
            found = await self._daemon.image_id(tag)
        if found is None:
            raise EngineError(f"the container engine loaded the image {tag} and does not have it")
        return found

    async def _load(self, config: bytes, tag: str, layers: LayerFiles, below: str) -> None:
        try:
            await self._send(config, tag, layers, below)
        except DaemonError:
            await self._daemon.try_remove(self._daemon.client.remove_image, tag)  # not complete
            if not below or await self._daemon.image_id(below) is None:
                raise
            known = dict(await self.files(below))
            whole = [(diff, path or known.get(diff)) for diff, path in layers]
            await self._send(config, tag, whole, "")

    async def _send(self, config: bytes, tag: str, layers: LayerFiles, below: str) -> None:
        if not self._daemon.containerd:
            name = hashlib.sha256(config).hexdigest()
            await self._daemon.load(archive.image(config, name, tag, layers))
            return
        from ci.engine.store import oci

        known = dict(zip(await self.diff_ids(below), await self._described(below), strict=True))
        files = [
            (known[diff] if path is None else oci.described_layer(diff, path), path)
            for diff, path in layers
        ]
        if tag.endswith(COMPRESSED):
            files = [
                await self._compressed(diff, path, below)
                if descriptor["mediaType"].endswith(".tar")
                else (descriptor, path)
                for (diff, _), (descriptor, path) in zip(layers, files, strict=True)
            ]
        await self._daemon.load(oci.layout(config, files, oci.PLAIN, name=tag))

    async def _compressed(
        self, diff: str, path: Path | None, below: str
    ) -> tuple[dict[str, Any], Path]:
        """Return the descriptor and the file of a layer with compression."""
        from ci.engine.store import oci

        path = path or self._store.path(diff.partition(":")[2])
        if not path.exists():
            path = dict(await self.files(below))[diff]
        digest, packed = await self._daemon.call(oci.compress_layer, self._store, path)
        return oci.described_layer(digest, packed, replace(oci.PLAIN, gzip=True)), packed

    async def _described(self, image: str) -> list[dict[str, Any]]:
        """Return the descriptors of an image's layers as the containerd store has them."""
        if not image:
            return []
        key = key_of("descriptors", image)
        known: list[dict[str, Any]] | None = self._store.get(key)
        if known is None:
            from ci.engine.store import oci

            read = partial(oci.saved_layers, diff_ids=await self.diff_ids(image))
            known = await self._daemon.save(image, read)
            self._store.set(key, known)
        return known


def _store_layers(store: Store, chunks: Iterable[bytes]) -> None:
    from ci.engine.store import oci

    for _, file in archive.members(chunks):
        if file is not None:
            store.add(oci.decompressed(file))
