"""Fields of Container: each returns another frozen container and executes nothing."""

from dataclasses import replace
from functools import partial
from posixpath import basename
from typing import Any

from ci.engine.api.container_config import absolute_path, expand, forgetting_image
from ci.engine.api.files import (
    Content,
    as_file,
    directory_content,
    exported,
    file_content,
    file_target,
    files_content,
    link_content,
    new_content,
    path_fields,
    with_error,
)
from ci.engine.api.service import up
from ci.engine.errors import EngineError
from ci.engine.execution.outputs import stream_text
from ci.engine.execution.session import Engine
from ci.engine.fields import Args, Resolver, register
from ci.engine.store import tree
from ci.engine.store.oci import ArchiveFormat
from ci.engine.store.tree import FILE, Entry, Tree
from ci.engine.values import (
    CONTENT_MOUNTS,
    CacheVolume,
    Container,
    Directory,
    Edit,
    Exec,
    File,
    Image,
    Mount,
    Service,
    TreeSource,
)


# --- images ---------------------------------------------------------------------------------
def _image_ref(_engine: Engine, old: Container, _args: Args) -> str:
    if not old.image_ref:
        raise EngineError("imageRef: ask right after `from`; a changed container is no image")
    return old.image_ref


async def _as_tarball(engine: Engine, old: Container, args: Args) -> File:
    chosen = await engine.images.variant(old, args.platformVariants or [])
    form = ArchiveFormat.parse(args.mediaTypes, args.forcedCompression, dict(chosen.annotations))
    content, size = await engine.images.tarball(chosen, form)
    return File(name="image.tar", entry=Entry(FILE, 0o644, size=size, content=content))


async def _export(engine: Engine, old: Container, args: Args) -> str:
    return await exported(
        engine, await _as_tarball(engine, old, args), expand(old, args.path, args)
    )


async def _publish(engine: Engine, old: Container, args: Args) -> str:
    chosen = await engine.images.variant(old, args.platformVariants or [])
    return await engine.images.publish(replace(chosen, auth=old.auth or chosen.auth), args.address)


async def _export_image(engine: Engine, old: Container, args: Args) -> None:
    chosen = await engine.images.variant(old, args.platformVariants or [])
    await engine.images.export(chosen, args.name)


async def _import(engine: Engine, old: Container, args: Args) -> Container:
    return await engine.images.from_archive(old, await engine.value(args.source), args.tag)


# --- commands -------------------------------------------------------------------------------
def _command(old: Container, args: Args) -> tuple[str, ...]:
    found = tuple(expand(old, arg, args) for arg in args.args) or old.args
    if args.useEntrypoint:
        found = old.entrypoint + found
    if not found:
        raise EngineError("no command: give `args`, or set withDefaultArgs or withEntrypoint")
    return found


def _serving(old: Container, args: Args) -> Service:
    container = replace(old, volatile=())  # a service does not get them, as in Dagger
    # The image's entrypoint runs unless the arguments are the caller's own.
    entrypoint = args.useEntrypoint or not (args.args or old.args_set)
    return Service(container=container, args=_command(old, Args(args, useEntrypoint=entrypoint)))


def _with_exec(engine: Engine, old: Container, args: Args) -> Container:
    step = Exec(
        before=old,
        args=_command(old, args),
        stdin=args.stdin,
        redirect_stdin=expand(old, args.redirectStdin, args),
        expect=args.expect,
    )
    mounts = tuple(replace(m, after=step) if m.kind in CONTENT_MOUNTS else m for m in old.mounts)
    new = replace(old, files=step, mounts=mounts, last_exec=step)
    for path, stream in ((args.redirectStdout, "stdout"), (args.redirectStderr, "stderr")):
        if path:
            place = new.absolute(expand(old, path, args))
            new = _edited(engine, new, place, partial(_stream, engine, step, stream))
    return new


async def _stream(engine: Engine, step: Exec, name: str) -> Tree:
    content = getattr(await engine.steps.result(step), name)
    size = engine.store.path(content).stat().st_size
    return Tree({"": Entry(FILE, 0o644, size=size, content=content)})


def _output(name: str) -> Resolver:
    async def read(engine: Engine, old: Container, _args: Args) -> Any:
        if old.last_exec is None:
            raise EngineError("no command has been set; use withExec first")
        found = getattr(await engine.steps.result(old.last_exec), name)
        return found if name == "code" else stream_text(engine.store, found)

    return read


# --- files ----------------------------------------------------------------------------------
def _put(content: Content) -> Resolver:
    """Return the resolver that puts content at the path in its arguments."""

    async def put(engine: Engine, old: Container, args: Args) -> Container:
        path = await file_target(engine, args) if content is file_content else args.path
        place = old.absolute(expand(old, path or args.linkName, args))
        return _edited(engine, old, place, partial(content, engine, args), owner=args.owner or "")

    return put


def _remove(expect: str) -> Resolver:
    """Return the resolver that removes the path or paths in its arguments."""

    def remove(engine: Engine, old: Container, args: Args) -> Container:
        for path in args.paths or [args.path]:
            old = _edited(engine, old, old.absolute(expand(old, path, args)), None, expect=expect)
        return old

    return remove


def _edited(
    engine: Engine, old: Container, place: str, source: TreeSource | None, **how: str
) -> Container:
    """Return a container with an edit of the mount at its place, or else of its files."""
    edit, mount = Edit(below=old.files, path=place, source=source, **how), old.covering(place)
    if mount is None:
        return replace(old, files=edit)
    _require_content(mount.path, mount)

    async def content() -> Tree:
        before, inner = await engine.steps.content(mount), place[len(mount.path) :]
        if source is None:
            return tree.remove(before, [inner])
        new = await source()
        if edit.owner:
            ids = await engine.rootfs.owner(await engine.steps.state(old.files), edit.owner)
            new = tree.chown(new, *ids)
        return tree.put(before, inner, new)

    return old.with_mount(replace(mount, source=content, after=None))


def _with_rootfs(engine: Engine, old: Container, args: Args) -> Container:
    source: TreeSource = partial(engine.tree, args.directory)
    return replace(old, files=Edit(below=Image(), path="/", source=source))


def _directory(_engine: Engine, old: Container, args: Args) -> Directory:
    place = absolute_path(old, args)
    _require_content(place, old.covering(place))
    return Directory(container=old, path=place, name=basename(place) + "/")


async def _file(engine: Engine, old: Container, args: Args) -> File:
    place = absolute_path(old, args)
    _require_content(place, old.covering(place))
    return as_file(place, (await engine.steps.tree(old, place)).root)


def _require_content(place: str, mount: Mount | None) -> None:
    if mount is not None and mount.kind not in CONTENT_MOUNTS:
        raise EngineError(f"{place}: a {mount.kind} mount can be read and written by commands only")


async def _entry(
    engine: Engine, old: Container, args: Args, *, follow: bool
) -> tuple[str, Entry | None]:
    place = absolute_path(old, args)
    mount = old.covering(place)
    if mount is not None and mount.kind in CONTENT_MOUNTS:
        content = await engine.steps.content(mount)
        return place, tree.found(content, place[len(mount.path) :], follow=follow)[1]
    state = await engine.steps.state(old.files)
    canonical, _ = await engine.rootfs.resolve(state, place, follow=follow)
    return place, await engine.rootfs.entry_at(state, canonical)


# --- mounts ---------------------------------------------------------------------------------
def _with_mount(kind: Any) -> Resolver:
    """Return the resolver that adds the mount in its arguments."""

    async def mount(engine: Engine, old: Container, args: Args) -> Container:
        new = Mount(path=absolute_path(old, args), kind=kind, owner=args.owner or "")
        match kind:
            case "directory":
                source: TreeSource = partial(engine.tree, args.source)
                new = replace(new, source=source, read_only=bool(args.readOnly))
            case "file":
                new = replace(new, source=partial(file_content, engine, args))
            case "secret":
                new = replace(new, secret=args.source, mode=args.mode)
            case "temp":
                new = replace(new, size=args.size)
            case _:
                new = await _cache(engine, new, args)
        return old.with_mount(new)

    return mount


async def _cache(engine: Engine, mount: Mount, args: Args) -> Mount:
    cache: CacheVolume = await engine.value(args.cache)
    source: TreeSource | None = partial(engine.tree, args.source) if args.source else cache.source
    sharing = cache.sharing if args.sharing == "SHARED" else args.sharing
    owner = mount.owner or cache.owner
    return replace(mount, name=cache.name, source=source, sharing=sharing, owner=owner)


#: What no command gets: access to the engine, more privileges, process number 1.
_ORDINARY: dict[str, Any] = {
    "experimentalPrivilegedNesting": False,
    "insecureRootCapabilities": False,
    "noInit": False,
}

_FIELDS: dict[str, Resolver] = {
    "asService": lambda _engine, old, args: _serving(old, args),
    "asTarball": _as_tarball,
    "combinedOutput": _output("combined"),
    "directory": _directory,
    "exitCode": _output("code"),
    "export": _export,
    "exportImage": _export_image,
    "file": _file,
    "from": lambda engine, old, args: engine.images.from_address(old, args.address),
    "imageRef": _image_ref,
    "import": _import,
    "mounts": lambda _engine, old, _args: [
        mount.path for mount in old.mounts if mount.kind != "secret"
    ],
    "publish": _publish,
    "rootfs": lambda _engine, old, _args: Directory(container=replace(old, mounts=())),
    "stderr": _output("stderr"),
    "stdout": _output("stdout"),
    "sync": lambda engine, old, _args: engine.steps.state(old.files),
    "up": lambda engine, old, args: up(engine, _serving(old, args), args),
    "withDirectory": _put(directory_content),
    "withError": with_error,
    "withExec": _with_exec,
    "withFile": _put(file_content),
    "withFiles": _put(files_content),
    "withMountedCache": _with_mount("cache"),
    "withMountedDirectory": _with_mount("directory"),
    "withMountedFile": _with_mount("file"),
    "withMountedSecret": _with_mount("secret"),
    "withMountedTemp": _with_mount("temp"),
    "withNewFile": _put(new_content),
    "withRootfs": _with_rootfs,
    "withSymlink": _put(link_content),
    "withoutDirectory": _remove("d"),
    "withoutFile": _remove("f"),
    "withoutFiles": _remove("f"),
    "withoutMount": lambda _engine, old, args: old.without_mount(absolute_path(old, args)),
} | path_fields(_entry)
register(
    "Container",
    forgetting_image(_FIELDS),
    asService=_ORDINARY,
    exportImage={"forcedCompression": None},
    # Docker pushes with its own media types, whatever the argument is.
    publish={"forcedCompression": None, "registryService": None},
    up=_ORDINARY,
    withExec=_ORDINARY,
    **{"from": {"registryService": None}},
)
