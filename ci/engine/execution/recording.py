"""What a command left in its container: a layer in the store, or an image of the container.

Docker's containerd store walks through all files to commit a container (1 s for 11,000 files). So
what a command changed is listed there by the container's own process, read and recorded as a layer
like that of an edit. A container is committed where that is impossible or not cheaper: many or
large files, hard links, devices, a changed root, an image without the programs for it.
"""

import contextlib
import os
import shlex
import time
from collections.abc import Callable, Iterable
from functools import partial
from posixpath import basename
from typing import TypeVar

import anyio

from ci.common.concurrency import first, parallel
from ci.engine.docker.docker_api import Daemon, DaemonError
from ci.engine.docker.idle import OUTSIDE_IMAGE, Leftovers
from ci.engine.docker.listing import Changes, Found, Listing, UnclearError
from ci.engine.errors import EngineError
from ci.engine.execution.commands import KILLED, Command, CommandRunner, GoneError
from ci.engine.execution.containers import MARK, StepContainer
from ci.engine.files.rootfs import State
from ci.engine.store import archive
from ci.engine.store.archive import WHITEOUT
from ci.engine.store.cache import Store
from ci.engine.store.overlay import Layer
from ci.engine.store.tree import FILE, Entry, Tree
from ci.engine.values import Mount

T = TypeVar("T")

#: A commit copies all changes since the container's start: beyond this many seconds, and beyond
#: what its start took, a new container is cheaper.
SLOW_COMMIT = 0.4
#: Files and bytes above which what a command changed is committed.
MAX_FILES, MAX_BYTES = 60, 16 << 20
#: Paths in the layers of a state above which its container is committed.
MAX_RECORDED = 1_000
#: Paths of an edit that are recorded once more with the command after it.
FEW = 8
#: Files that are read at once.
PARALLEL = 4


def commits_slowly(daemon: Daemon) -> bool:
    """Return whether a container engine takes longer to commit a container than to list it."""
    return daemon.containerd


class NotRecordedError(Exception):
    """What a command changed cannot be recorded as a layer, or a commit is cheaper."""


class Recorder:
    """Keeps what commands left."""

    def __init__(self, store: Store, daemon: Daemon, runner: CommandRunner) -> None:
        self._store = store
        self._daemon = daemon
        self._runner = runner
        self._reading = anyio.Semaphore(PARALLEL)

    async def begin(self, container: StepContainer) -> None:
        """List the files of a new container, so that its changes can be recorded."""
        if commits_slowly(self._daemon) and not container.dedicated:
            ask = partial(self._daemon.lookers.ask, container.id)
            with contextlib.suppress(UnclearError, ValueError):
                container.listing = await self._daemon.call(Listing, ask)
                if container.state.size > MAX_RECORDED - MAX_FILES:  # edits: they are in its image
                    container.state = State(image=container.image)

    async def put(self, container: StepContainer, layer: Layer) -> None:
        """Put an edit into an idle container; it is not a change of the next command."""
        await self._runner.put(container, layer)
        if container.listing is None:
            return
        if layer.size > FEW:
            await self._changes(container, container.listing)
        else:
            container.listing.expect({path: each.kind for path, each in layer.entries.items()})

    async def left(self, container: StepContainer, command: Command) -> tuple[State, bool]:
        """Return the files that a command left, and whether its container can be reused."""
        if container.dedicated:
            return State(image=await self._commit(container, command)), False
        temporary = any(mount.kind == "temp" for mount in command.mounts)
        if container.listing is not None:
            left = await self._leftovers(container)
            layer = None if left.processes else await self._layer(container, container.listing)
            if layer is not None:
                return container.state.after(layer), not (temporary or left.files)
        image, reusable = await self._committed(container, command)
        return State(image=image), reusable and not temporary

    # --- layers -------------------------------------------------------------------------------
    async def _layer(self, container: StepContainer, listing: Listing) -> Layer | None:
        """Return what a command changed; None if the container is to be committed."""
        changes = await self._changes(container, listing)
        if changes is None:
            return None
        try:
            _require_small(container.state, changes)
            found = await parallel(partial(self._entry, container), changes.files.values())
        except NotRecordedError:
            return None
        entries = dict(zip(changes.files, found, strict=True))
        return Layer(entries=entries, removed=changes.removed)

    async def _changes(self, container: StepContainer, listing: Listing) -> Changes | None:
        try:
            return await self._daemon.call(listing.changes)
        except (UnclearError, ValueError):
            container.listing = None
            return None

    async def _entry(self, container: StepContainer, found: Found) -> Entry:
        entry = Entry(found.kind, found.mode, found.uid, found.gid, found.mtime)
        match found.kind:
            case "l":
                size = len(os.fsencode(found.target))
                return entry._replace(mode=0o777, size=size, content=found.target)
            case "f" if found.links == 1:
                return (await self._read(container, found.path, self._received)).root
            case "d":
                return await self._read(container, found.path, archive.first) or entry
            case "p":
                return entry
        raise NotRecordedError

    async def _read(
        self, container: StepContainer, path: str, read: Callable[[Iterable[bytes]], T]
    ) -> T:
        """Read a path; its extended attributes are in the archive only."""
        async with self._reading:
            try:
                return await self._daemon.fetch(container.id, f"/{path}", read)
            except DaemonError as error:
                raise NotRecordedError from error

    def _received(self, chunks: Iterable[bytes]) -> Tree:
        return archive.receive(self._store, chunks)

    # --- images -------------------------------------------------------------------------------
    async def _committed(self, container: StepContainer, command: Command) -> tuple[str, bool]:
        """Commit what a command left; return the image and whether the container can be reused."""
        left: list[Leftovers] = []

        async def look() -> None:
            left.append(await self._leftovers(container))

        start = time.monotonic()
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(look)
                image = await self._commit(container, command)
                seconds = time.monotonic() - start
        except ExceptionGroup as errors:
            raise first(errors) from errors
        if left[0].processes:  # they end with the command, and may have changed files meanwhile
            await self._daemon.call(self._daemon.client.kill, container.id)
            image = await self._commit(container, command, instead_of=image)
        slow = seconds >= max(SLOW_COMMIT, container.start_seconds)
        return image, not (slow or left[0].processes or left[0].files)

    async def _commit(
        self, container: StepContainer, command: Command, *, instead_of: str = ""
    ) -> str:
        """Commit a container; remove the image that had the command's tag before."""
        try:
            image = await self._daemon.commit(container.id, self._store.tag(command.key))
        except DaemonError as error:
            if error.status == 404:  # removed since the command ended
                raise EngineError(KILLED) from error
            raise
        if instead_of not in ("", image):
            await self._daemon.try_remove(self._daemon.client.remove_image, instead_of)
        return image

    # --- beside the files ---------------------------------------------------------------------
    async def _leftovers(self, container: StepContainer) -> Leftovers:
        """Return what a command left in a container beside its files."""
        found = await self._daemon.call(self._daemon.lookers.look, container.id)
        return found or await self._counted(container)

    async def _counted(self, container: StepContainer) -> Leftovers:
        """Do the same where a container's own process cannot look."""
        try:
            run = await self._runner.run(container, Command(key="", args=OUTSIDE_IMAGE, user="0"))
        except GoneError:
            raise
        except EngineError:  # the container has ended
            return Leftovers(processes=False, files=True)
        found = Leftovers.parse(self._store.read(run.stdout)) if run.code == 0 else None
        if found is not None:
            return found
        # Docker 20.10 takes half a second to count.
        return Leftovers(processes=await self._daemon.processes(container.id) != 1, files=True)

    async def changed(self, container: StepContainer, mount: Mount) -> bool:
        """Return whether anything below a mounted directory may have changed since its filling."""
        if mount.read_only:
            return False
        if mount.kind == "file" or not container.mark_valid:
            return True
        args = ("find", mount.path, "-cnewer", MARK, "-print", "-quit")
        if "\n" not in mount.path:
            seen = await self._daemon.call(self._daemon.lookers.ask, container.id, shlex.join(args))
            if seen is not None:
                return bool(seen)
        try:
            found = await self._runner.run(container, Command(key="", args=args, user="0"))
        except EngineError:  # the container has ended, as after a command that left processes
            return True
        return found.code != 0 or bool(self._store.head_and_tail(found.combined)[2])


def _require_small(state: State, changes: Changes) -> None:
    """Raise `NotRecordedError` for changes that are too large, or that no layer can have."""
    paths = [*changes.files, *changes.removed]
    size = sum(each.size for each in changes.files.values() if each.kind == FILE)
    many = len(paths) > MAX_FILES or state.size + len(paths) > MAX_RECORDED
    # No archive is requested by other names than UTF-8, and in images `.wh.` deletes a name.
    named = all(_is_text(path) and not basename(path).startswith(WHITEOUT) for path in paths)
    if changes.root or many or size > MAX_BYTES or not named:
        raise NotRecordedError


def _is_text(path: str) -> bool:
    return path.encode(errors="replace").decode() == path
