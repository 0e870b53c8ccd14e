"""Fields of Directory: changes and reading, of a tree of paths or of a place in a container."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from posixpath import basename, dirname, join, normpath
from typing import Any

import anyio.to_thread

from ci.engine.api.query import new_file
from ci.engine.errors import EngineError
from ci.engine.execution.session import Engine
from ci.engine.fields import Args, Resolver, register
from ci.engine.sources import host_exports
from ci.engine.store import edits, gitignore, patterns, tree
from ci.engine.store.gitignore import Gitignore
from ci.engine.store.tree import DIRECTORY, FILE, FOLDER, LINK, Entry, Tree
from ci.engine.values import Change, Container, Directory, File, read_once

_KINDS = {DIRECTORY: "DIRECTORY", FILE: "REGULAR", LINK: "SYMLINK"}
#: Size that every directory has: that of one block, as file systems report it.
DIRECTORY_SIZE = 4096
Maker = Callable[[Engine, Args], Change]


# --- changes --------------------------------------------------------------------------------
# Each function returns the change of one field, of a directory or a container.
def new_content(engine: Engine, args: Args) -> Change:
    """Return the change of withNewFile."""

    async def content() -> Tree:
        return Tree({"": new_file(engine, args)})

    return Change(kind="write", path=args.path, source=read_once(content))


def copied_file(engine: Engine, args: Args) -> Change:
    """Return the change of withFile."""
    return _copied(engine, args, "file", [args.source])


def copied_files(engine: Engine, args: Args) -> Change:
    """Return the change of withFiles."""
    return _copied(engine, args, "files", args.sources)


def _copied(engine: Engine, args: Args, kind: Any, sources: list[Any]) -> Change:
    async def content() -> Tree:
        files: list[File] = [await engine.value(source) for source in sources]
        return Tree({"": FOLDER, **{file.name: file.entry for file in files}})

    return _owned(args, kind=kind, source=read_once(content), mode=args.permissions)


def copied_directory(engine: Engine, args: Args) -> Change:
    """Return the change of withDirectory: it copies the selected paths of its source."""

    async def content() -> Tree:
        return selected(engine, await engine.tree(args.source), args)

    return _owned(args, kind="directory", source=read_once(content), mode=args.permissions)


def new_link(_engine: Engine, args: Args) -> Change:
    """Return the change of withSymlink."""
    return Change(kind="link", path=args.linkName, target=args.target)


def _owned(args: Args, **options: Any) -> Change:
    return Change(path=args.path, owner=args.owner or "", **options)


def _chown(_engine: Engine, args: Args) -> Change:
    return Change(kind="owner", path=args.path, owner=valid_owner(args))


def valid_owner(args: Args) -> str:
    """Return the owner in the arguments; raises `EngineError` if it is empty."""
    if not args.owner:
        raise EngineError("owner: give a user, or a user and a group")
    return str(args.owner)


def _new_directory(_engine: Engine, args: Args) -> Change:
    if edits.outside(args.path):
        raise EngineError(f"cannot create directory outside parent: {normpath(args.path)}")
    return Change(kind="folder", path=args.path, mode=(args.permissions & 0o777) or 0o755)


def selected(engine: Engine, content: Tree, args: Args) -> Tree:
    """Return the paths of a tree that `include`, `exclude` and `gitignore` select."""
    left_out = ignored(engine, content) if args.gitignore else ()
    return tree.select(content, args.include, args.exclude, left_out)


def ignored(engine: Engine, content: Tree) -> set[str]:
    """Return the paths that the .gitignore files of a tree exclude."""
    rules = Gitignore(repository=".git" in content.entries)
    for path, entry in content.entries.items():
        if basename(path) == gitignore.NAME and entry.kind == FILE:
            rules.add(dirname(path), engine.store.read(entry.content))
    found: set[str] = set()
    for path, entry in sorted(content.entries.items()):  # a directory before what is in it
        if path and (
            dirname(path) in found or rules.ignores(path, directory=entry.kind == DIRECTORY)
        ):
            found.add(path)
    return found


def with_error(_engine: Engine, old: Any, args: Args) -> Any:
    """Raise the error in the arguments, unless it is empty."""
    if args.err:
        raise EngineError(args.err)
    return old


def _change(make: Maker) -> Resolver:
    """Return the resolver of a change."""

    async def change(engine: Engine, old: Directory, args: Args) -> Directory:
        return await engine.changed(old, make(engine, args))

    return change


async def _without(engine: Engine, old: Directory, args: Args) -> Directory:
    for path in args.paths or [args.path]:
        old = await engine.changed(old, Change(kind="remove", path=path))
    return old


async def _diff(engine: Engine, old: Directory, args: Args) -> Directory:
    before, after = await engine.content(old), await engine.tree(args.other)
    return Directory(tree=tree.difference(before, after))


async def _filter(engine: Engine, old: Directory, args: Args) -> Directory:
    return Directory(tree=selected(engine, await engine.content(old), args))


async def _docker_build(engine: Engine, old: Directory, args: Args) -> Container:
    engine.require_platform(args.platform)
    build_args = {each["name"]: each["value"] for each in args.buildArgs}
    return await engine.images.build(
        await engine.content(old), args.dockerfile, args=build_args, target=args.target
    )


# --- reading --------------------------------------------------------------------------------
def _read(look: Callable[[Tree, Args], Any]) -> Resolver:
    """Return the resolver of plain data about a directory's content."""

    async def read(engine: Engine, old: Directory, args: Args) -> Any:
        return look(await engine.content(old), args)

    return read


async def _directory(_engine: Engine, old: Directory, args: Args) -> Directory:
    found = replace(old, path=normpath(old.absolute(args.path or "")))
    if found.tree is not None and args.path:
        _, entry = tree.found(found.tree, found.path)
        if entry is None:
            raise tree.not_found(args.path)
        if entry.kind != DIRECTORY:
            raise EngineError(f"path {args.path} is a file, not a directory")
    return found


async def _entries(engine: Engine, old: Directory, args: Args) -> list[str]:
    return tree.names(await engine.content(await _directory(engine, old, args)))


async def _file(engine: Engine, old: Directory, args: Args) -> File:
    if not args.path:
        raise tree.not_found("stat ")
    return as_file(old, args.path, await engine.entry(old, args.path))


def as_file(directory: Directory, path: str, entry: Entry) -> File:
    """Return the file of an entry; raises `EngineError` if it is not a file."""
    if entry.kind != FILE:
        raise EngineError(f"path {path} is a directory, not a file")
    name = basename(normpath(directory.absolute(path)))
    return File(name=name, entry=entry._replace(inode=""), directory=directory)


async def _look(
    engine: Engine, old: Directory, args: Args, *, follow: bool
) -> tuple[str, Entry | None]:
    return await engine.look(old, args.path, follow=follow) if args.path else ("", None)


def path_fields(look: Callable[..., Any]) -> dict[str, Resolver]:
    """Return the fields about one path; `look` returns its place and its entry."""

    async def exists(engine: Engine, old: Any, args: Args) -> bool:
        kind = args.expectedType
        follow = not args.doNotFollowSymlinks and kind != "SYMLINK_TYPE"
        _, entry = await look(engine, old, args, follow=follow)
        return entry is not None and kind in (None, f"{_KINDS.get(entry.kind)}_TYPE")

    async def stat(engine: Engine, old: Any, args: Args) -> Args:
        place, entry = await look(engine, old, args, follow=not args.doNotFollowSymlinks)
        if entry is None:
            raise tree.not_found(f"stat {args.path}")
        return stat_of(basename(place) or "/", entry)

    return {"exists": exists, "stat": stat}


def stat_of(name: str, entry: Entry) -> Args:
    """Return the Stat of one path."""
    kind = _KINDS.get(entry.kind, "UNKNOWN")
    size = DIRECTORY_SIZE if entry.kind == DIRECTORY else entry.size
    return Args(name=name, size=size, permissions=entry.mode & 0o777, fileType=kind)


async def _find_up(engine: Engine, old: Directory, args: Args) -> str | None:
    if not args.name:
        raise EngineError("name cannot be empty")
    if edits.outside(start := normpath(args.start or ".")):
        raise EngineError(f"cannot search outside parent: {start}")
    root = "/" if start.startswith("/") else "."
    for folder in (start, *(join(root, each) for each in patterns.parents(start.strip("/"))), root):
        path = normpath(join(folder, args.name))
        if (await engine.look(old, path, follow=False))[1] is not None:
            return path
    return None


async def _export(engine: Engine, old: Directory, args: Args) -> str:
    path, content = await anyio.Path(args.path).absolute(), await engine.content(old)
    write = partial(host_exports.export, engine.store, content, Path(path), wipe=bool(args.wipe))
    for lost in await anyio.to_thread.run_sync(write):
        engine.options.log(f"export to {path}: {lost}")
    return str(path)


register(
    "Directory",
    {
        "chown": _change(_chown),
        "diff": _diff,
        "digest": _read(lambda content, _args: f"sha256:{content.digest}"),
        "directory": _directory,
        "dockerBuild": _docker_build,
        "entries": _entries,
        "export": _export,
        "file": _file,
        "filter": _filter,
        "findUp": _find_up,
        "glob": _read(lambda content, args: tree.glob(content, args.pattern)),
        "name": lambda _engine, old, _args: basename(old.path) + "/",
        "sync": lambda engine, old, _args: engine.content(old),
        "withDirectory": _change(copied_directory),
        "withError": with_error,
        "withFile": _change(copied_file),
        "withFiles": _change(copied_files),
        "withNewDirectory": _change(_new_directory),
        "withNewFile": _change(new_content),
        "withSymlink": _change(new_link),
        "withTimestamps": _change(
            lambda _engine, args: Change(kind="times", path="", seconds=args.timestamp)
        ),
        "withoutDirectory": _without,
        "withoutFile": _without,
        "withoutFiles": _without,
    }
    | path_fields(_look),
    dockerBuild={"secrets": [], "noInit": False, "ssh": None},
)
