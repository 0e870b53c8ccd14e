"""The files of containers: an image and edits, with the content of mounts; read and changed."""

from collections.abc import Awaitable, Callable
from posixpath import join
from typing import Protocol

from ci.engine.files.changing import Changing
from ci.engine.files.rootfs import Rootfs, SavedLayer, State, StateView
from ci.engine.store import edits, overlay, tree
from ci.engine.store.cache import key_of
from ci.engine.store.edits import TreeView, View, resolve
from ci.engine.store.overlay import Layer
from ci.engine.store.patterns import parents
from ci.engine.store.tree import Entry, Tree, not_found
from ci.engine.values import CONTENT_MOUNTS, Change, Container, Edit, Exec, Files, Image, Mount


class Result(Protocol):
    """What a command left; see `ExecResult`."""

    @property
    def image(self) -> str:
        """The image of its files."""

    @property
    def layers(self) -> list[SavedLayer]:
        """The layers over the image."""

    @property
    def mounts(self) -> dict[str, str]:
        """The tree in the store that each mount has, by path."""

    @property
    def mount_points(self) -> list[list[str]]:
        """What was created for its mounts: the first missing path, the mount's path."""


class Results(Protocol):
    """Returns what a command left, from the cache or by executing it; see `Steps.result`."""

    async def __call__(self, step: Exec, *, image: bool = False) -> Result:
        """Return the result; with `image`, its image exists."""


class ContainerFiles:
    """Reads and changes the files of containers."""

    def __init__(
        self, rootfs: Rootfs, key: Callable[[Files], Awaitable[str]], result: Results
    ) -> None:
        self._store = rootfs.store
        self._rootfs = rootfs
        self._key = key
        self._result = result
        self._changing = Changing(rootfs.store, self.view)
        self._states: dict[str, State] = {}

    # --- files of the container itself ------------------------------------------------------
    async def state(self, files: Files) -> State:
        """Return a container's files as an image and the edits since; executes what is missing."""
        changes, base = split(files)
        state = await self._after(base) if isinstance(base, Exec) else State(image=base.id)
        for edit in changes:
            key = await self._key(edit)
            if key not in self._states:
                self._states[key] = state.after(await self.layer(state, edit.change))
            state = self._states[key]
        return state

    async def view(self, files: Files) -> StateView:
        """Return a container's files as a view for edits."""
        return self._rootfs.view(await self.state(files))

    async def layer(self, state: State, change: Change) -> Layer:
        """Return what a change makes of a state."""
        return await self._changing.layer(self._rootfs.view(state), change)

    async def owner(self, view: View, text: str) -> tuple[int, int]:
        """Return the ids of `user:group`; names are looked up in the files' own tables."""
        return await self._changing.owner(view, text)

    async def _after(self, step: Exec) -> State:
        """Return a command's files without the mount points that were made for it."""
        result = await self._result(step, image=True)
        name = key_of(result.image, result.layers, result.mount_points)
        if name not in self._states:
            state = self._rootfs.loaded(result.image, result.layers)
            points = [await self._unused_point(state, *each) for each in result.mount_points]
            if unused := list(filter(None, points)):
                state = state.after(await edits.remove_all(self._rootfs.view(state), unused))
            self._states[name] = state
        return self._states[name]

    async def _unused_point(self, state: State, first: str, path: str) -> str:
        """Return the first path made for a mount point; empty if the command put files there."""
        if await self._rootfs.entry_at(state, first) is None:
            return ""
        content = await self._rootfs.tree(state, first)
        inner = {join(first, name).rstrip("/") for name in content.entries}
        sizes = any(entry.size for entry in content.entries.values())
        return first if inner <= {path, *parents(path)} and not sizes else ""

    # --- with mounts ------------------------------------------------------------------------
    async def content(self, mount: Mount) -> Tree:
        """Return the content of a mounted directory or file."""
        if mount.after is not None:
            result = await self._result(mount.after)
            content = self._store.load(result.mounts[mount.path])
        else:
            content = await mount.source() if mount.source else Tree()
        for change in mount.edits:
            content = await self.changed(content, change)
        return content

    async def changed(self, content: Tree, change: Change) -> Tree:
        """Return a tree after a change."""
        return overlay.apply(await self._changing.layer(TreeView(content), change), content)

    async def look(
        self, container: Container, path: str, *, follow: bool = True
    ) -> tuple[str, Entry | None]:
        """Return where a path of a container leads, mounts included, and what is there."""
        mount = container.covering(path)
        if mount is None or mount.kind not in CONTENT_MOUNTS:
            return await resolve(await self.view(container.files), path, follow=follow)
        content = await self.content(mount)
        return tree.found(content, path[len(mount.path) :], follow=follow)

    async def tree(self, container: Container, path: str) -> Tree:
        """Return the file or directory at a path of a container, mounts included."""
        mount = container.covering(path)
        if mount is None or mount.kind not in CONTENT_MOUNTS:
            return await self._rootfs.tree(await self.state(container.files), path)
        content = await self.content(mount)
        place, entry = tree.found(content, path[len(mount.path) :])
        if entry is None:
            raise not_found(path)
        return tree.below(content, place)


def split(files: Files) -> tuple[list[Edit], Image | Exec]:
    """Split files into the edits on top, first one first, and what is below them."""
    changes = []
    while isinstance(files, Edit):
        changes.append(files)
        files = files.below
    return changes[::-1], files
