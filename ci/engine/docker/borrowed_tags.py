"""Tags that `publish` needs for the time of a push, given back as they were.

A container engine pushes a tag under the tag's own name. That name may be a tag of the user's, of
another image. The store records it until it is given back, so that the next session does so if
this process is killed; a tag of the engine's own keeps the user's image until then.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio

from ci.common import locks
from ci.engine.docker.docker_api import REPOSITORY, Daemon, DaemonError
from ci.engine.store.cache import Store

FOLDER = "borrowed"
#: Seconds that giving a tag back may take when the session ends.
RETURN_TIMEOUT = 10


class BorrowedTags:
    """The tags that the sessions of a store have borrowed."""

    def __init__(self, store: Store, daemon: Daemon, log: Callable[[str], None]) -> None:
        self._store = store
        self._daemon = daemon
        self._log = log

    @asynccontextmanager
    async def borrowed(self, name: str, image: str) -> AsyncIterator[None]:
        """Let a tag name an image inside the block; one publish of that name at a time."""
        digest = hashlib.sha256(name.encode()).hexdigest()
        record = self._store.root / FOLDER / digest
        async with locks.held(self._store.root / "locks" / digest):
            before = await self._daemon.image_id(name)
            if before == image:
                yield
                return
            record.parent.mkdir(exist_ok=True)
            if before:
                await self._tag(before, self._keeper(digest))
            self._store.replace(record, json.dumps([name, before, image]).encode())
            try:
                await self._tag(image, name)
                yield
            finally:
                with anyio.move_on_after(RETURN_TIMEOUT, shield=True):
                    await self._give_back(record)

    async def give_back_all(self) -> None:
        """Give back the tags of sessions that were killed."""
        for record in (self._store.root / FOLDER).glob("*"):
            lock = locks.attempt(self._store.root / "locks" / record.name)
            if lock is None:
                continue  # a publish of another process
            try:
                await self._give_back(record)
            finally:
                lock.close()

    async def _give_back(self, record: Path) -> None:
        try:
            name, before, image = json.loads(await anyio.Path(record).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        try:
            if await self._daemon.image_id(name) == image:  # and no one else has moved it
                await self._return(name, before)
            if before:
                await self._untag(self._keeper(record.name))
        except DaemonError as error:
            self._log(f"the tag {name} is given back by the next session: {error}")
            return
        await anyio.Path(record).unlink(missing_ok=True)

    async def _return(self, name: str, before: str | None) -> None:
        if before and await self._daemon.image_id(before):
            await self._tag(before, name)
        else:
            await self._untag(name)

    async def _tag(self, image: str, name: str) -> None:
        repository, _, tag = name.rpartition(":")
        await self._daemon.call(self._daemon.client.tag, image, repository, tag, force=True)

    async def _untag(self, name: str) -> None:
        remove = partial(self._daemon.client.remove_image, noprune=True)
        await self._daemon.try_remove(remove, name)

    def _keeper(self, digest: str) -> str:
        return f"{REPOSITORY}:{self._store.tag(f'borrowed-{digest}')}"
