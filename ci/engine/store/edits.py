"""What each operation on files changes, for directories, containers and mounts alike.

Every operation looks at the files through a `View` and returns a `Layer`; nothing else decides
where a path leads. The rules are those of a Dagger engine v0.21.8: `write` and `symlink` act as a
process does, `copy_*` as its copier: a copy replaces a name, but goes into a directory at the end
of a link.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from posixpath import basename, dirname, join, normpath
from typing import Protocol

from ci.engine.errors import EngineError, NotDirectoryError
from ci.engine.store import overlay
from ci.engine.store.overlay import Layer
from ci.engine.store.patterns import compile_pattern, parents
from ci.engine.store.tree import (
    DIRECTORY,
    FILE,
    FOLDER,
    LINK,
    MAX_LINKS,
    Entry,
    Tree,
    clean,
    follow_links,
    not_found,
)

CAPABILITY = "security.capability"


class View(Protocol):
    """Files as they are before a change, by canonical paths."""

    async def entry(self, place: str) -> Entry | None:
        """Return the entry at a place, None where nothing is."""

    async def below(self, place: str) -> Tree:
        """Return what is at a place that exists, with everything below it."""


class TreeView:
    """A tree as a view."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    async def entry(self, place: str) -> Entry | None:
        """Return the entry at a place."""
        return self._tree.entries.get(place)

    async def below(self, place: str) -> Tree:
        """Return what is at a place."""
        entries = self._tree.entries
        inner = {p[len(place) + 1 :]: e for p, e in entries.items() if p.startswith(f"{place}/")}
        return Tree({"": entries[place], **inner}) if place else self._tree


async def resolve(view: View, path: str, *, follow: bool = True) -> tuple[str, Entry | None]:
    """Return where a path leads and what is there; raises `EngineError` as `follow_links` does."""
    way = follow_links(path, follow=follow)
    try:
        place = next(way)
        while True:
            place = way.send(await view.entry(place))
    except StopIteration as end:
        place = str(end.value)
    return place, await view.entry(place)


class _Draft:
    """A layer in the making: a view of the files with the changes so far."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._entries: dict[str, Entry] = {}
        self._removed: set[str] = set()
        self._new: set[str] = set()  # directories below which the files have nothing

    async def entry(self, place: str) -> Entry | None:
        """Return the entry at a place after the changes so far."""
        if place in self._entries:
            return self._entries[place]
        if dirname(place) in self._new or overlay.hides(self._entries, self._removed, place):
            return None
        return await self._view.entry(place)

    async def below(self, place: str) -> Tree:
        """Return what is at a place without the changes."""
        return await self._view.below(place)

    async def lay(self, place: str, entry: Entry) -> None:
        """Put an entry at a place whose directory exists."""
        if entry.kind == DIRECTORY:
            old = await self.entry(place)
            if old is None or old.kind != DIRECTORY:
                self._new.add(place)
            if old is not None and old.kind != DIRECTORY:
                self._removed.add(place)
        elif place in self._entries and self._entries[place].kind == DIRECTORY:
            self._entries = {p: e for p, e in self._entries.items() if not _is_in(p, place)}
        self._entries[place] = entry

    def remove(self, place: str) -> None:
        """Remove a place with all that is below it."""
        self._removed.add(place)

    async def make_parents(self, place: str, mode: int = 0o755) -> None:
        """Create the directories that are missing above a resolved place."""
        for above in reversed(list(parents(place))):
            if await self.entry(above) is None:
                await self.lay(above, FOLDER._replace(mode=mode))

    async def make_directory(self, path: str) -> str:
        """Return the directory at a path, created if it is missing or a link that leads nowhere.

        Raises:
            EngineError: a file is there.
        """
        done = ""
        for part in filter(None, clean(path).split("/")):
            named = join(done, part)
            place, entry = await resolve(self, named)
            if entry is None:
                await self.lay(named, FOLDER)
                done = named
            elif entry.kind == DIRECTORY:
                done = place
            else:
                raise _no_directory(path)
        return done

    async def layer(self) -> Layer:
        """Return the layer; it has the directories above each path, which keep their mode."""
        for place in [*self._entries, *self._removed]:
            for above in parents(place):
                if above not in self._entries:
                    self._entries[above] = await self._view.entry(above) or FOLDER
        return Layer(entries=self._entries, removed=frozenset(self._removed))


def _is_in(path: str, place: str) -> bool:
    return path.startswith(f"{place}/")


def _no_directory(path: str) -> EngineError:
    return EngineError(f'cannot copy directory to non-directory "/{clean(path)}"')


def _leads_into(path: str) -> bool:
    return path.endswith(("/", "/."))


# --- files and links --------------------------------------------------------------------------
async def write(view: View, path: str, file: Entry) -> Layer:
    """Write a file; one that exists, at the end of any links, keeps its mode and owner."""
    draft = _Draft(view)
    place, old = await resolve(draft, path)
    if not place or (old is not None and old.kind == DIRECTORY):
        raise EngineError(f"open {path}: is a directory")
    if old is not None:
        file = file._replace(mode=old.mode, uid=old.uid, gid=old.gid)
    await draft.make_parents(place)
    await draft.lay(place, file)
    return await draft.layer()


async def copy_file(
    view: View, path: str, name: str, file: Entry, owner: tuple[int, int] | None = None
) -> Layer:
    """Copy a file into the directory at a path, or else in place of that name.

    A path that ends with a slash is a directory, which is created and gets the owner.
    """
    draft = _Draft(view)
    if owner is not None:
        file = file._replace(uid=owner[0], gid=owner[1])
    place, found = ("", None) if _leads_into(path) else await _seen(draft, path)
    if _leads_into(path):
        folder = await draft.make_directory(path)
        if owner is not None and folder:
            entry = await draft.entry(folder) or FOLDER
            await draft.lay(folder, entry._replace(uid=owner[0], gid=owner[1]))
    elif found is not None and found.kind == DIRECTORY:
        folder = place
    else:
        folder, name = await draft.make_directory(dirname(clean(path))), basename(clean(path))
    await draft.lay(clean(join(folder, name)), file)
    return await draft.layer()


async def _seen(draft: _Draft, path: str) -> tuple[str, Entry | None]:
    try:
        return await resolve(draft, path)
    except NotDirectoryError as error:
        raise _no_directory(dirname(clean(path))) from error


async def copy_directory(view: View, path: str, source: Tree) -> Layer:
    """Copy a directory's content into the one at a path, which takes the source's mode and owner.

    Directories merge and take the mode and owner of what is copied; everything else replaces.
    """
    draft = _Draft(view)
    place, old = await _seen(draft, path)
    if old is not None and old.kind != DIRECTORY:
        if (await resolve(draft, path, follow=False))[0] != place:
            raise _no_directory(path)
        await draft.lay(place, FOLDER)
    top = await draft.make_directory(path)
    if top:
        await draft.lay(top, source.root)  # with its time as well, so that images can be reproduced
    places = {"": top}  # where each directory of the source is laid
    for name, entry in sorted(source.entries.items()):
        if not name:
            continue
        target = join(places[dirname(name)], basename(name))
        if entry.kind == DIRECTORY:
            target = places[name] = await _merged(draft, target)
        await draft.lay(target, _copied(entry, path))
    return await draft.layer()


def _copied(entry: Entry, path: str) -> Entry:
    """Return an entry as a copy to a path: a file with several names is another one there."""
    if not entry.inode:
        return entry
    return entry._replace(inode=hashlib.sha256(f"{path} {entry.inode}".encode()).hexdigest()[:16])


async def _merged(draft: _Draft, target: str) -> str:
    """Return where a directory is laid that is copied to a target."""
    place, old = await resolve(draft, target)
    if old is None or place == target:
        return target
    if old.kind != DIRECTORY:
        raise _no_directory(target)
    return place


async def symlink(view: View, path: str, target: str) -> Layer:
    """Create a link; raises `EngineError` if the name exists."""
    draft = _Draft(view)
    folder, _ = await resolve(draft, dirname(clean(path)))
    place = join(folder, basename(clean(path)))
    if not target:
        raise EngineError(f"symlink {target} {path}: no such file or directory")
    if not basename(place) or await draft.entry(place) is not None:
        raise EngineError(f"symlink {target} {path}: file exists")
    await draft.make_parents(place)
    if (above := await draft.entry(dirname(place))) is not None and above.kind != DIRECTORY:
        raise EngineError(f"mkdir {dirname(clean(path))}: not a directory")
    await draft.lay(place, Entry(LINK, 0o777, size=len(target), content=target))
    return await draft.layer()


async def new_directory(view: View, path: str, mode: int) -> Layer:
    """Create a directory, and those above it with the same mode; one that exists stays as it is."""
    draft = _Draft(view)
    place, old = await resolve(draft, path)
    if old is not None and old.kind != DIRECTORY:
        raise EngineError(f"mkdir {path}: not a directory")
    if old is None and place:
        await draft.make_parents(place, mode)
        await draft.lay(place, FOLDER._replace(mode=mode))
    return await draft.layer()


def outside(path: str) -> bool:
    """Return whether a relative path leads out of the directory that it starts in."""
    return normpath(path).startswith("../")


# --- removals ---------------------------------------------------------------------------------
async def remove(view: View, path: str) -> Layer:
    """Remove a path, or all that match if it contains `*`; a link itself, not what it leads to.

    The root stays, empty.
    """
    return await remove_all(view, await _matches(view, path) if "*" in path else [path])


async def remove_all(view: View, paths: Iterable[str]) -> Layer:
    """Remove paths, of which none is a pattern."""
    draft = _Draft(view)
    for path in paths:
        place, entry = await resolve(draft, path, follow=False)
        if not place:
            top = {name.partition("/")[0] for name in (await view.below("")).entries if name}
            return Layer(removed=frozenset(top))
        if entry is not None:
            draft.remove(place)
    return await draft.layer()


_WILD = re.compile(r"(?:[^\\*?\[]|\\.)*[*?\[]", re.DOTALL)


async def _matches(view: View, path: str) -> list[str]:
    """Return the paths that a pattern matches, none below another; as Go's `filepath.Match`."""
    parts = clean(path).split("/")
    plain = next((n for n, each in enumerate(parts) if _WILD.match(each)), len(parts))
    if plain == len(parts):
        return ["/".join(parts)]
    folder, entry = await resolve(view, "/".join(parts[:plain]))
    if entry is None and folder:
        raise not_found(path)
    rest = re.sub(r"\*+", "*", "/".join(parts[plain:]))
    try:
        regex = compile_pattern(rf"\{rest}" if rest.startswith("!") else rest).regex
    except EngineError:  # a malformed pattern matches nothing
        return []
    names = [name for name in (await view.below(folder)).entries if name and regex.match(name)]
    found = set(names)
    return [join(folder, name) for name in names if not found.intersection(parents(name))]


# --- owners and times -------------------------------------------------------------------------
async def chown(view: View, path: str, owner: tuple[int, int]) -> Layer:
    """Change the owner of a path and of all below it."""
    place, entry = await resolve(view, path)
    if entry is None and place:
        raise not_found(path)
    inner = (await view.below(place)).entries.items()
    changed = {join(place, name) if name else place: owned(each, owner) for name, each in inner}
    return await _changed(view, changed)


def owned(entry: Entry, owner: tuple[int, int]) -> Entry:
    """Return an entry with another owner."""
    entry = entry._replace(uid=owner[0], gid=owner[1])
    if entry.kind != FILE:
        return entry
    # As Linux does: a file that changes its owner loses what would run it with rights.
    kept = {k: v for k, v in json.loads(entry.xattrs or "{}").items() if k != CAPABILITY}
    special = 0o6000 if entry.mode & 0o010 else 0o4000
    return entry._replace(mode=entry.mode & ~special, xattrs=json.dumps(kept) if kept else "")


async def set_times(view: View, path: str, seconds: int) -> Layer:
    """Set the modification time of a path and all below it, and of what links below it lead to.

    Raises:
        EngineError: a link leads nowhere, or is absolute: its target is not known here.
    """
    place, entry = await resolve(view, path)
    if entry is None and place:
        raise not_found(path)
    found = (await view.below(place)).entries.items()
    inner = {join(place, name) if name else place: each for name, each in found}
    for name, each in list(inner.items()):
        if each.kind == LINK and (target := await _reached(view, name)) not in inner:
            inner[target] = (await view.below(target)).root
    dated = {n: e._replace(mtime=seconds, dated=True) for n, e in inner.items() if e.kind != LINK}
    return await _changed(view, dated)


async def _reached(view: View, link: str) -> str:
    """Return where a link leads without leaving the files."""
    at, hops = link, 0
    while (entry := await view.entry(at)) is not None and entry.kind == LINK:
        hops += 1
        if hops > MAX_LINKS:
            raise EngineError(f"chtimes {link}: too many levels of symbolic links")
        way = normpath(join(dirname(at), entry.content))
        if entry.content.startswith("/") or way.startswith(".."):
            raise EngineError(f"chtimes {link}: no such file or directory")
        at, _ = await resolve(view, way, follow=False)
    if entry is None and at:
        raise EngineError(f"chtimes {link}: no such file or directory")
    return at


async def _changed(view: View, entries: dict[str, Entry]) -> Layer:
    draft = _Draft(view)
    for place, entry in entries.items():
        await draft.lay(place, entry)
    return await draft.layer()
