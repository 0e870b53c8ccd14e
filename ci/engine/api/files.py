"""Fields of Directory and File: operations on tables of paths, without containers."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from posixpath import basename, dirname, join
from typing import Any

import anyio.to_thread

from ci.engine.api.query import new_file
from ci.engine.envfile import EnvFile
from ci.engine.errors import EngineError
from ci.engine.execution.session import Engine
from ci.engine.fields import Args, Resolver, register
from ci.engine.sources import host_files
from ci.engine.store import gitignore, patterns, tree
from ci.engine.store.cache import key_of
from ci.engine.store.gitignore import Gitignore
from ci.engine.store.tree import DIRECTORY, FILE, LINK, Entry, Tree
from ci.engine.values import Container, Directory, File

_KINDS = {DIRECTORY: "DIRECTORY", FILE: "REGULAR", LINK: "SYMLINK"}


# --- content for a path ----------------------------------------------------------
def with_permissions(content: Tree, permissions: int | None) -> Tree:
    """Return a tree whose root has these permissions, unless they are None."""
    if permissions is None:
        return content
    return Tree({**content.entries, "": content.root._replace(mode=permissions)})


async def new_content(engine: Engine, args: Args) -> Tree:
    """Return the file of withNewFile."""
    return Tree({"": new_file(engine, args)})


async def link_content(_engine: Engine, args: Args) -> Tree:
    """Return the link of withSymlink."""
    return Tree({"": Entry(LINK, 0o777, content=args.target)})


async def file_content(engine: Engine, args: Args) -> Tree:
    """Return the file of withFile, as a tree of one entry."""
    file: File = await engine.value(args.source)
    return with_permissions(Tree({"": file.entry}), args.permissions)


async def files_content(engine: Engine, args: Args) -> Tree:
    """Return the files of withFiles, in one directory."""
    content = Tree()
    for source in args.sources:
        file: File = await engine.value(source)
        content = tree.put(
            content, file.name, with_permissions(Tree({"": file.entry}), args.permissions)
        )
    return content


async def directory_content(engine: Engine, args: Args) -> Tree:
    """Return the content of withDirectory: the selected paths of its source."""
    content = selected(engine, await engine.tree(args.source), args)
    return with_permissions(content, args.permissions)


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


async def file_target(engine: Engine, args: Args) -> str:
    """Return the path of withFile's file: below the argument if that ends with a slash."""
    path = str(args.path)
    return join(path, (await engine.value(args.source)).name) if path.endswith("/") else path


def with_error(_engine: Engine, old: Any, args: Args) -> Any:
    """Raise the error in the arguments, unless it is empty."""
    if args.err:
        raise EngineError(args.err)
    return old


# --- changing ---------------------------------------------------------------------------------
def _on_tree(look: Callable[[Engine, Tree, Args], Any]) -> Resolver:
    """Return the resolver of an operation on a directory's tree; a new tree is a new directory."""

    async def answer(engine: Engine, old: Directory, args: Args) -> Any:
        found = look(engine, await engine.content(old), args)
        return replace(old, tree=found) if isinstance(found, Tree) else found

    return answer


Content = Callable[[Engine, Args], Awaitable[Tree]]


def _put(content: Content) -> Callable[[Engine, Directory, Args], Awaitable[Directory]]:
    """Return the resolver that puts content at the path in its arguments."""

    async def put(engine: Engine, old: Directory, args: Args) -> Directory:
        new = await content(engine, args)
        if args.owner:
            new = tree.chown(new, *_numeric(args.owner))
        path = await file_target(engine, args) if content is file_content else args.path
        return replace(old, tree=tree.put(await engine.content(old), path or args.linkName, new))

    return put


def _numeric(owner: str) -> tuple[int, int]:
    user, _, group = owner.partition(":")
    if not user.isdigit() or not (group or user).isdigit():
        raise EngineError(f"owner {owner!r}: use numbers; a directory has no table of names")
    return int(user), int(group or user)


async def _new_directory(_engine: Engine, args: Args) -> Tree:
    # The API's default permissions are a file's; such a directory could not be entered.
    return with_permissions(Tree(), 0o755 if args.permissions == 0o644 else args.permissions)


async def _diff(engine: Engine, old: Directory, args: Args) -> Directory:
    before, after = (await engine.content(old)).entries, (await engine.tree(args.other)).entries
    new = {p for p, e in after.items() if p not in before or (e.kind, e) > (DIRECTORY, before[p])}
    new = {p for p in new if p not in before or after[p] != before[p]}
    kept = new | {above for path in new for above in patterns.parents(path)} | {""}
    return Directory(tree=Tree({path: entry for path, entry in after.items() if path in kept}))


def _chown(_engine: Engine, content: Tree, args: Args) -> Tree:
    place, _ = tree.lookup(content, args.path)
    changed = tree.chown(tree.below(content, place), *_numeric(args.owner))
    own = {f"{place}/{path}".strip("/"): entry for path, entry in changed.entries.items()}
    return Tree({**content.entries, **own})


def _without(_engine: Engine, content: Tree, args: Args) -> Tree:
    return tree.remove(content, args.paths or [args.path])


async def _docker_build(engine: Engine, old: Directory, args: Args) -> Container:
    engine.require_platform(args.platform)
    build_args = {each["name"]: each["value"] for each in args.buildArgs}
    return await engine.images.build(
        await engine.content(old), args.dockerfile, args=build_args, target=args.target
    )


# --- reading --------------------------------------------------------------------------------
async def _directory(engine: Engine, old: Directory, args: Args) -> Directory:
    path, name = tree.clean(args.path), basename(tree.clean(args.path)) + "/"
    if old.tree is None:
        return replace(old, path=join(old.path, path), name=name)
    return Directory(tree=tree.subtree(await engine.content(old), path), name=name)


async def _file(engine: Engine, old: Directory, args: Args) -> File:
    if old.tree is None and old.container is not None:
        path = join(old.path, tree.clean(args.path))
        return as_file(path, (await engine.steps.tree(old.container, path)).root)
    return as_file(args.path, tree.lookup(await engine.content(old), args.path)[1])


def as_file(path: str, entry: Entry) -> File:
    """Return the file of an entry; raises `EngineError` if it is not a file."""
    if entry.kind != FILE:
        raise EngineError(f"{path}: is a directory, not a file")
    return File(name=basename(path), entry=entry)


async def _entry(
    engine: Engine, old: Directory, args: Args, *, follow: bool
) -> tuple[str, Entry | None]:
    return tree.found(await engine.content(old), args.path, follow=follow)


def path_fields(look: Callable[..., Awaitable[tuple[str, Entry | None]]]) -> dict[str, Resolver]:
    """Return the fields about one path; `look` returns its place and its entry."""

    async def exists(engine: Engine, old: Any, args: Args) -> bool:
        kind = args.expectedType
        follow = not args.doNotFollowSymlinks and kind != "SYMLINK_TYPE"
        _, entry = await look(engine, old, args, follow=follow)
        return entry is not None and kind in (None, _KINDS[entry.kind] + "_TYPE")

    async def stat(engine: Engine, old: Any, args: Args) -> Args:
        place, entry = await look(engine, old, args, follow=not args.doNotFollowSymlinks)
        if entry is None:
            raise tree.not_found(args.path)
        return stat_of(basename(place), entry)

    return {"exists": exists, "stat": stat}


def stat_of(name: str, entry: Entry) -> Args:
    """Return the Stat of one path."""
    kind = _KINDS[entry.kind]
    return Args(name=name, size=entry.size, permissions=entry.mode, fileType=kind)


def _find_up(_engine: Engine, content: Tree, args: Args) -> str | None:
    at = tree.clean(args.start)
    places = (join(folder, args.name) for folder in (at, *patterns.parents(at), ""))
    return next((place for place in places if place in content.entries), None)


async def _export(engine: Engine, old: Directory, args: Args) -> str:
    path, content = await anyio.Path(args.path).absolute(), await engine.content(old)
    write = partial(host_files.export, engine.store, content, Path(path), wipe=bool(args.wipe))
    await anyio.to_thread.run_sync(write)
    return str(path)


register(
    "Directory",
    {
        "chown": _on_tree(_chown),
        "diff": _diff,
        "digest": _on_tree(lambda _engine, content, _args: f"sha256:{content.digest}"),
        "directory": _directory,
        "dockerBuild": _docker_build,
        "entries": _on_tree(
            lambda _engine, content, args: tree.names(tree.subtree(content, args.path or "/"))
        ),
        "export": _export,
        "file": _file,
        "filter": _on_tree(selected),
        "findUp": _on_tree(_find_up),
        "glob": _on_tree(lambda _engine, content, args: tree.glob(content, args.pattern)),
        "name": lambda _engine, old, _args: old.name,
        "sync": lambda engine, old, _args: engine.content(old),
        "withDirectory": _put(directory_content),
        "withError": with_error,
        "withFile": _put(file_content),
        "withFiles": _put(files_content),
        "withNewDirectory": _put(_new_directory),
        "withNewFile": _put(new_content),
        "withSymlink": _put(link_content),
        "withTimestamps": _on_tree(
            lambda _engine, content, args: tree.dated(content, args.timestamp)
        ),
        "withoutDirectory": _on_tree(_without),
        "withoutFile": _on_tree(_without),
        "withoutFiles": _on_tree(_without),
    }
    | path_fields(_entry),
    dockerBuild={"secrets": [], "noInit": False, "ssh": None},
)


# --- files ----------------------------------------------------------------------------------
def _contents(engine: Engine, old: File, args: Args) -> str:
    text = engine.store.read(old.entry.content).decode(errors="replace")
    if args.offsetLines is None and args.limitLines is None:
        return text
    start = args.offsetLines or 0
    end = None if args.limitLines is None else start + args.limitLines
    return "".join(text.splitlines(keepends=True)[start:end])


def _file_digest(_engine: Engine, old: File, args: Args) -> str:
    whole = key_of(old.name, Tree({"": old.entry}).digest)
    return f"sha256:{old.entry.content if args.excludeMetadata else whole}"


def _replaced(engine: Engine, old: File, args: Args) -> File:
    text = engine.store.read(old.entry.content).decode()
    count = text.count(args.search)
    if count == 0 or (count > 1 and not args.all):
        raise EngineError(f"{old.name}: {args.search!r} occurs {count} times, not once (see `all`)")
    data = text.replace(args.search, args.replacement).encode()
    content = engine.store.add_bytes(data)
    return _with(old, size=len(data), content=content)


def _with(old: File, **facts: Any) -> File:
    return replace(old, entry=old.entry._replace(**facts))


def _file_chown(_engine: Engine, old: File, args: Args) -> File:
    uid, gid = _numeric(args.owner)
    return _with(old, uid=uid, gid=gid)


async def _file_export(engine: Engine, old: File, args: Args) -> str:
    return await exported(engine, old, args.path, into=bool(args.allowParentDirPath))


async def exported(engine: Engine, file: File, path: str, *, into: bool = False) -> str:
    """Write a file to this host, into an existing directory if `into`; return its path."""
    place = await anyio.Path(path).absolute()
    if into and await place.is_dir():
        place /= basename(file.name)
    await place.parent.mkdir(parents=True, exist_ok=True)
    root = Path(place.parent)
    await anyio.to_thread.run_sync(host_files.write, engine.store, file.entry, Path(place), root)
    return str(place)


def _as_env_file(engine: Engine, old: File, _args: Args) -> EnvFile:
    return EnvFile.parse(engine.store.read(old.entry.content))


register(
    "File",
    {
        "asEnvFile": _as_env_file,
        "chown": _file_chown,
        "contents": _contents,
        "digest": _file_digest,
        "export": _file_export,
        "name": lambda _engine, old, _args: old.name,
        "size": lambda _engine, old, _args: old.entry.size,
        "stat": lambda _engine, old, _args: stat_of(old.name, old.entry),
        "sync": lambda *_: None,
        "withName": lambda _engine, old, args: replace(old, name=args.name),
        "withReplaced": _replaced,
        "withTimestamps": lambda _engine, old, args: _with(old, mtime=args.timestamp, dated=True),
    },
    withReplaced={"firstFrom": None},
)
