"""Fields of Directory and File: operations on tables of paths, no container involved."""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from posixpath import basename, dirname, join
from typing import Any

import anyio.to_thread

from ci.engine import host, patterns, tree
from ci.engine.engine import Engine
from ci.engine.errors import EngineError
from ci.engine.fields import field, value_call
from ci.engine.ids import Call
from ci.engine.store import key_of
from ci.engine.tree import DIRECTORY, FILE, LINK, Entry, Tree
from ci.engine.values import Container, Directory, File

KINDS = {DIRECTORY: "DIRECTORY", FILE: "REGULAR", LINK: "SYMLINK"}


def new_file(engine: Engine, contents: str, permissions: int) -> Entry:
    """Return a file with a content of its own."""
    data = contents.encode("utf-8", "surrogateescape")
    return Entry(FILE, permissions, size=len(data), content=engine.store.add_bytes(data))


def numeric(owner: str) -> tuple[int, int]:
    """Return the ids of an owner that has no container whose tables could be asked."""
    user, _, group = owner.partition(":")
    if not user.isdigit() or not (group or user).isdigit():
        raise EngineError(f"owner {owner!r}: a directory knows no names, only numbers")
    return int(user), int(group or user)


def ignored(engine: Engine, content: Tree) -> set[str]:
    """Return the paths that the .gitignore files of a tree leave out."""
    rules: list[patterns.Pattern] = []
    for path, entry in sorted(content.entries.items()):
        if basename(path) == ".gitignore" and entry.kind == FILE:
            rules += patterns.gitignore(engine.store.read(entry.content).decode(), dirname(path))
    matcher = patterns.Matcher(rules)
    return {
        path
        for path, entry in content.entries.items()
        if path and matcher.matches(path, directory=entry.kind == DIRECTORY)
    }


async def selected(
    engine: Engine, source: Call, include: Iterable[str], exclude: Iterable[str], gitignore: bool
) -> Tree:
    """Return what of a directory the arguments of withDirectory and filter mean."""
    content = await engine.tree(source)
    return tree.select(content, include, exclude, ignored(engine, content) if gitignore else ())


def dressed(content: Tree, owner: str, permissions: int | None) -> Tree:
    """Return a tree with owner and permissions, where they are given."""
    if owner:
        content = tree.chown(content, *numeric(owner))
    return moded(content, permissions)


def moded(content: Tree, permissions: int | None) -> Tree:
    """Return a tree whose root has these permissions, where they are given."""
    if permissions is None:
        return content
    return Tree({**content.entries, "": content.root._replace(mode=permissions)})


async def file_tree(engine: Engine, source: Call, permissions: int | None = None) -> Tree:
    """Return a file as a tree of one entry."""
    file: File = await engine.value(source)
    return moded(Tree({"": file.entry}), permissions)


# --- making ---------------------------------------------------------------------------------
@field("Query.directory")
async def empty(_engine: Engine, _query: None) -> Directory:
    return Directory(tree=Tree())


@field("Directory.withNewFile")
async def with_new_file(
    engine: Engine, old: Directory, path: str, contents: str, permissions: int
) -> Directory:
    return await _put(engine, old, path, Tree({"": new_file(engine, contents, permissions)}))


@field("Directory.withNewDirectory")
async def with_new_directory(
    engine: Engine, old: Directory, path: str, permissions: int
) -> Directory:
    mode = 0o755 if permissions == 0o644 else permissions  # the API's default cannot be entered
    return await _put(engine, old, path, moded(Tree(), mode))


@field("Directory.withDirectory")
async def with_directory(
    engine: Engine,
    old: Directory,
    path: str,
    source: Call,
    include: list[str],
    exclude: list[str],
    gitignore: bool,
    owner: str,
    permissions: int | None = None,
) -> Directory:
    content = await selected(engine, source, include, exclude, gitignore)
    return await _put(engine, old, path, dressed(content, owner, permissions))


@field("Directory.withFile")
async def with_file(
    engine: Engine,
    old: Directory,
    path: str,
    source: Call,
    owner: str,
    permissions: int | None = None,
) -> Directory:
    if path.endswith("/"):
        path = join(path, (await engine.value(source)).name)
    content = await file_tree(engine, source, permissions)
    return await _put(engine, old, path, dressed(content, owner, None))


@field("Directory.withFiles")
async def with_files(
    engine: Engine, old: Directory, path: str, sources: list[Call], permissions: int | None = None
) -> Directory:
    content = await engine.forced(old)
    for source in sources:
        name = join(path, (await engine.value(source)).name)
        content = tree.put(content, name, await file_tree(engine, source, permissions))
    return replace(old, tree=content)


@field("Directory.withSymlink")
async def with_symlink(engine: Engine, old: Directory, target: str, linkName: str) -> Directory:  # noqa: N803
    return await _put(engine, old, linkName, Tree({"": Entry(LINK, 0o777, content=target)}))


async def _put(engine: Engine, old: Directory, path: str, content: Tree) -> Directory:
    return replace(old, tree=tree.put(await engine.forced(old), path, content))


@field("Directory.withoutFile", "Directory.withoutDirectory")
async def without(engine: Engine, old: Directory, path: str) -> Directory:
    return replace(old, tree=tree.remove(await engine.forced(old), [path]))


@field("Directory.withoutFiles")
async def without_files(engine: Engine, old: Directory, paths: list[str]) -> Directory:
    return replace(old, tree=tree.remove(await engine.forced(old), paths))


@field("Directory.withTimestamps")
async def with_timestamps(engine: Engine, old: Directory, timestamp: int) -> Directory:
    return replace(old, tree=tree.dated(await engine.forced(old), timestamp))


@field("Directory.filter")
async def filter_(
    engine: Engine, old: Directory, include: list[str], exclude: list[str], gitignore: bool
) -> Directory:
    content = await engine.forced(old)
    left_out = ignored(engine, content) if gitignore else ()
    return replace(old, tree=tree.select(content, include, exclude, left_out))


@field("Directory.diff")
async def diff(engine: Engine, old: Directory, other: Call) -> Directory:
    before, after = (await engine.forced(old)).entries, (await engine.tree(other)).entries
    new = {p for p, e in after.items() if e.kind != DIRECTORY and before.get(p) != e}
    new |= {p for p in after if p not in before}
    kept = new | {above for path in new for above in patterns.parents(path)} | {""}
    return Directory(tree=Tree({path: entry for path, entry in after.items() if path in kept}))


@field("Directory.chown")
async def chown(engine: Engine, old: Directory, path: str, owner: str) -> Directory:
    content = await engine.forced(old)
    place, _ = tree.lookup(content, path)
    changed = tree.chown(tree.below(content, place), *numeric(owner))
    entries = {f"{place}/{p}".strip("/"): entry for p, entry in changed.entries.items()}
    return replace(old, tree=Tree({**content.entries, **entries}))


# --- looking --------------------------------------------------------------------------------
@field("Directory.directory")
async def directory(engine: Engine, old: Directory, path: str) -> Directory:
    name = basename(tree.clean(path)) + "/"
    if old.tree is None:
        return replace(old, path=join(old.path, tree.clean(path)), name=name)
    return Directory(tree=tree.subtree(await engine.forced(old), path), name=name)


@field("Directory.file")
async def file(engine: Engine, old: Directory, path: str) -> File:
    if old.tree is None and old.container is not None:
        return await container_file(engine, old.container, join(old.path, tree.clean(path)))
    _, entry = tree.lookup(await engine.forced(old), path)
    return _file(path, entry)


async def container_file(engine: Engine, container: Container, path: str) -> File:
    """Return a file of a container."""
    return _file(path, (await engine.steps.tree(container, path)).root)


def _file(path: str, entry: Entry) -> File:
    if entry.kind != FILE:
        raise EngineError(f"{path}: is a directory, not a file")
    return File(name=basename(path), entry=entry)


@field("Directory.entries")
async def entries(engine: Engine, old: Directory, path: str | None = None) -> list[str]:
    return tree.names(tree.subtree(await engine.forced(old), path or "/"))


@field("Directory.glob")
async def glob(engine: Engine, old: Directory, pattern: str) -> list[str]:
    return tree.glob(await engine.forced(old), pattern)


@field("Directory.name")
async def name(_engine: Engine, old: Directory) -> str:
    return old.name


@field("Directory.digest")
async def digest(engine: Engine, old: Directory) -> str:
    return f"sha256:{(await engine.forced(old)).digest}"


@field("Directory.exists")
async def exists(
    engine: Engine,
    old: Directory,
    path: str,
    doNotFollowSymlinks: bool,  # noqa: N803
    expectedType: str | None = None,  # noqa: N803
) -> bool:
    return is_there(await engine.forced(old), path, expectedType, follow=not doNotFollowSymlinks)


def is_there(content: Tree, path: str, kind: str | None, *, follow: bool) -> bool:
    """Whether a tree has a path, of a type where one is given."""
    try:
        _, entry = tree.lookup(content, path, follow=follow and kind != "SYMLINK_TYPE")
    except EngineError:
        return False
    return kind is None or kind == KINDS[entry.kind] + "_TYPE"


@field("Directory.stat")
async def stat(engine: Engine, old: Directory, path: str, doNotFollowSymlinks: bool) -> Any:  # noqa: N803
    place, entry = tree.lookup(await engine.forced(old), path, follow=not doNotFollowSymlinks)
    return stat_of(basename(place), entry)


def stat_of(name: str, entry: Entry) -> dict[str, Any]:
    """Return the facts of one path."""
    kind = KINDS[entry.kind]
    return {"name": name, "size": entry.size, "permissions": entry.mode, "fileType": kind}


@field("Directory.findUp")
async def find_up(engine: Engine, old: Directory, name: str, start: str) -> str | None:
    content, at = await engine.forced(old), tree.clean(start)
    while True:
        if join(at, name) in content.entries:
            return join(at, name)
        if not at:
            return None
        at = dirname(at)


@field("Directory.sync")
async def sync(engine: Engine, old: Directory) -> None:
    await engine.forced(old)


@field("Directory.export")
async def export(engine: Engine, old: Directory, path: str, wipe: bool) -> str:
    target, content = Path(path).absolute(), await engine.forced(old)  # noqa: ASYNC240
    await anyio.to_thread.run_sync(lambda: host.export(engine.store, content, target, wipe=wipe))
    return str(target)


@field("Directory.dockerBuild", platform=None, secrets=[], noInit=False, ssh=None)
async def docker_build(
    engine: Engine,
    old: Directory,
    dockerfile: str,
    buildArgs: list[dict[str, str]],  # noqa: N803
    target: str,
) -> Container:
    args = {each["name"]: each["value"] for each in buildArgs}
    empty = Container(platform=engine.platform)
    context = await engine.forced(old)
    return await engine.images.build(empty, context, dockerfile, args=args, target=target)


# --- files ----------------------------------------------------------------------------------
@field("Query.file")
async def query_file(
    engine: Engine, _query: None, name: str, contents: str, permissions: int
) -> File:
    return File(name=name, entry=new_file(engine, contents, permissions))


@field("File.contents")
async def contents(
    engine: Engine,
    old: File,
    offsetLines: int | None = None,  # noqa: N803
    limitLines: int | None = None,  # noqa: N803
) -> str:
    text = engine.store.read(old.entry.content).decode(errors="replace")
    if offsetLines is None and limitLines is None:
        return text
    start = offsetLines or 0
    end = None if limitLines is None else start + limitLines
    return "".join(text.splitlines(keepends=True)[start:end])


@field("File.size")
async def size(_engine: Engine, old: File) -> int:
    return old.entry.size


@field("File.name")
async def file_name(_engine: Engine, old: File) -> str:
    return old.name


@field("File.digest")
async def file_digest(_engine: Engine, old: File, excludeMetadata: bool) -> str:  # noqa: N803
    if excludeMetadata:
        return f"sha256:{old.entry.content}"
    return f"sha256:{key_of(old.name, Tree({'': old.entry}).digest)}"


@field("File.stat")
async def file_stat(_engine: Engine, old: File) -> Any:
    return stat_of(old.name, old.entry)


@field("File.withName")
async def with_name(_engine: Engine, old: File, name: str) -> File:
    return replace(old, name=name)


@field("File.withTimestamps")
async def file_timestamps(_engine: Engine, old: File, timestamp: int) -> File:
    return replace(old, entry=old.entry._replace(mtime=timestamp, dated=True))


@field("File.chown")
async def file_chown(_engine: Engine, old: File, owner: str) -> File:
    uid, gid = numeric(owner)
    return replace(old, entry=old.entry._replace(uid=uid, gid=gid))


@field("File.withReplaced", firstFrom=None)
async def with_replaced(
    engine: Engine,
    old: File,
    search: str,
    replacement: str,
    all: bool,  # noqa: A002
) -> File:
    text = engine.store.read(old.entry.content).decode()
    count = len(re.findall(re.escape(search), text))
    if count != 1 and not all:
        raise EngineError(f"{old.name}: {search!r} is there {count} times, not once")
    entry = new_file(engine, text.replace(search, replacement), old.entry.mode)
    return replace(old, entry=entry._replace(uid=old.entry.uid, gid=old.entry.gid))


@field("File.sync")
async def file_sync(_engine: Engine, _old: File) -> None:
    return None


@field("File.export")
async def file_export(engine: Engine, old: File, path: str, allowParentDirPath: bool) -> str:  # noqa: N803
    target = Path(path).absolute()  # noqa: ASYNC240
    if allowParentDirPath and target.is_dir():
        target = target / basename(old.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    await anyio.to_thread.run_sync(host.write, engine.store, old.entry, target, target.parent)
    return str(target)


__all__ = ["value_call"]
