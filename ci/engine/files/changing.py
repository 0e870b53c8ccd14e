"""Changes of files, carried out on a view of a container, a mount or a directory."""

from collections.abc import Awaitable, Callable
from posixpath import join

from ci.engine.errors import EngineError
from ci.engine.store import edits, overlay, tree
from ci.engine.store.cache import Store
from ci.engine.store.edits import View, resolve
from ci.engine.store.overlay import Layer
from ci.engine.store.tree import FILE, Tree, not_found
from ci.engine.values import Change, Files

Owner = tuple[int, int]


class Changing:
    """Turns changes into layers."""

    def __init__(self, store: Store, view: Callable[[Files], Awaitable[View]]) -> None:
        self._store = store
        self._view = view  # of a container's files, to read the tables of owners

    async def layer(self, view: View, change: Change) -> Layer:
        """Return what a change makes of files; raises `EngineError` where it is impossible."""
        owner = await self._owner(view, change)
        match change.kind:
            case "link":
                return await edits.symlink(view, change.path, change.target)
            case "folder":
                return await edits.new_directory(view, change.path, change.mode or 0o755)
            case "remove":
                return await edits.remove(view, change.path)
            case "times":
                return await edits.set_times(view, change.path, change.seconds)
            case "owner":
                return await edits.chown(view, change.path, owner or (0, 0))
        source = await change.source() if change.source else Tree()
        return await self._with_content(view, change, source, owner)

    async def _with_content(
        self, view: View, change: Change, source: Tree, owner: Owner | None
    ) -> Layer:
        if change.mode is not None:
            source = tree.chmod(source, change.mode)
        match change.kind:
            case "write":
                return await edits.write(view, change.path, source.root)
            case "file" | "files":
                return await self._with_files(view, change, source, owner)
        content = tree.chown(source, *owner) if owner else source
        return await edits.copy_directory(view, change.path, content)

    async def _with_files(
        self, view: View, change: Change, source: Tree, owner: Owner | None
    ) -> Layer:
        layer = Layer()
        for name, file in sorted(source.entries.items()):
            if name:
                path = change.path if change.kind == "file" else join(change.path, name)
                copied = await edits.copy_file(view, path, name, file, owner)
                layer = overlay.merge(layer, copied)
        return layer

    async def _owner(self, view: View, change: Change) -> Owner | None:
        if not change.owner:
            return None
        tables = view if change.owners is None else await self._view(change.owners)
        return await self.owner(tables, change.owner)

    async def owner(self, view: View, text: str) -> Owner:
        """Return the ids of `user:group`; without a group it has the user's number, as in Dagger.

        Raises:
            EngineError: a name is not in the tables of the files.
        """
        user, colon, group = text.partition(":")
        uid = await self._id(view, "/etc/passwd", user)
        return uid, await self._id(view, "/etc/group", group) if colon else uid

    async def _id(self, view: View, table: str, name: str) -> int:
        if name in ("", "root") or name.isdecimal():
            return int(name) if name.isdecimal() else 0
        place, entry = await resolve(view, table)
        if entry is None or entry.kind != FILE:
            raise not_found(f"owner {name!r}: open {table}")
        content = (await view.below(place)).root.content  # a view's entry may lack it
        for line in self._store.read(content).decode(errors="replace").split("\n"):
            fields = line.split(":")
            if fields[0] == name and len(fields) > 2 and fields[2].isdecimal():
                return int(fields[2])
        kind = "user" if table.endswith("passwd") else "group"
        raise EngineError(f"no such {kind}: {name!r} is not in {table}; use a number")
