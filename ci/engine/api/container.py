"""Fields of Container: each returns another frozen container and executes nothing."""

from dataclasses import replace
from functools import partial
from posixpath import basename, normpath
from typing import Any

from ci.engine.api.container_config import absolute_path, expand, forgetting_image
from ci.engine.api.file import exported
from ci.engine.api.files import (
    Maker,
    as_file,
    copied_directory,
    copied_file,
    copied_files,
    path_fields,
    with_error,
)
from ci.engine.api.query import new_file, valid_name
from ci.engine.api.service import up
from ci.engine.errors import EngineError
from ci.engine.execution.outputs import stream_text
from ci.engine.execution.session import Engine
from ci.engine.fields import Args, Resolver, register
from ci.engine.store.tree import FILE, FOLDER, Entry, Tree, not_found
from ci.engine.values import (
    CONTENT_MOUNTS,
    CacheVolume,
    Change,
    Container,
    Directory,
    Edit,
    Exec,
    File,
    Image,
    Mount,
    Service,
    TreeSource,
    read_once,
)


# --- images ---------------------------------------------------------------------------------
def _image_ref(_engine: Engine, old: Container, _args: Args) -> str:
    if not old.image_ref:
        raise EngineError("imageRef: ask right after `from`; a changed container is no image")
    return old.image_ref


async def _as_tarball(engine: Engine, old: Container, args: Args) -> File:
    from ci.engine.store.oci import ArchiveFormat

    chosen = await engine.images.variant(old, args.platformVariants or [])
    form = ArchiveFormat.parse(args.mediaTypes, args.forcedCompression, dict(chosen.annotations))
    content, size = await engine.images.tarball(chosen, form)
    return File(name="image.tar", entry=Entry(FILE, 0o600, size=size, content=content))


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
def _command(old: Container, args: Args, what: str = "command") -> tuple[str, ...]:
    found = tuple(expand(old, arg, args) for arg in args.args) or old.args
    if args.useEntrypoint:
        found = old.entrypoint + found
    if not found:
        hint = "give `args`, or set withDefaultArgs or withEntrypoint"
        raise EngineError(f"no {what} has been set: {hint}")
    return found


def _serving(old: Container, args: Args) -> Service:
    container = replace(old, volatile=())  # a service does not get them, as in Dagger
    # The image's entrypoint runs unless the arguments are the caller's own.
    entrypoint = args.useEntrypoint or not (args.args or old.args_set)
    chosen = Args(args, useEntrypoint=entrypoint)
    return Service(container=container, args=_command(old, chosen, "service command"))


def _with_exec(engine: Engine, old: Container, args: Args) -> Container:
    step = Exec(
        before=old,
        args=_command(old, args),
        stdin=args.stdin,
        redirect_stdin=expand(old, args.redirectStdin, args),
        expect=args.expect,
    )
    mounts = tuple(
        replace(m, after=step, edits=()) if m.kind in CONTENT_MOUNTS else m for m in old.mounts
    )
    new = replace(old, files=step, mounts=mounts, last_exec=step)
    for path, stream in ((args.redirectStdout, "stdout"), (args.redirectStderr, "stderr")):
        if path:
            source = read_once(partial(_stream, engine, step, stream))
            place = new.absolute(expand(old, path, args))
            new = _changed(new, Change(kind="write", path=place, source=source), Args())
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
def _put(make: Maker) -> Resolver:
    """Return the resolver of a change at the path in its arguments."""

    def put(engine: Engine, old: Container, args: Args) -> Container:
        return _changed(old, make(engine, args), args)

    return put


def _with_new_file(engine: Engine, old: Container, args: Args) -> Container:
    # It is copied, unlike Directory.withNewFile: it replaces a link at its path.
    path = expand(old, args.path, args)
    name = valid_name(basename(normpath(path)) if path else "")
    change = Change(
        kind="file",
        path=args.path,
        source=read_once(_single(name, new_file(engine, args))),
        owner=args.owner or "",
    )
    return _changed(old, change, args)


def _single(name: str, file: Entry) -> TreeSource:
    async def read() -> Tree:
        return Tree({"": FOLDER, name: file})

    return read


def _with_symlink(_engine: Engine, old: Container, args: Args) -> Container:
    target = expand(old, args.target, args)
    return _changed(old, Change(kind="link", path=args.linkName, target=target), args)


def _remove(_engine: Engine, old: Container, args: Args) -> Container:
    for path in args.paths or [args.path]:
        old = _changed(old, Change(kind="remove", path=path), args)
    return old


def _changed(old: Container, change: Change, args: Args) -> Container:
    """Return a container with a change of the mount at its path, or else of its files.

    A change of a mount point itself ends the mount; only a directory is copied into it.
    """
    path = expand(old, change.path, args)
    place = old.absolute(path)
    if path.startswith("/") and path.endswith(("/", "/.")):
        place = (
            place.rstrip("/") + "/"
        )  # a directory; a relative path says so in vain, as in Dagger
    change = replace(change, path=place, owners=old.files if change.owner else None)
    mount = old.covering(place.rstrip("/") or "/")
    if mount is None:
        return replace(old, files=Edit(below=old.files, change=change))
    _require_content(place, mount)
    inner = place.rstrip("/")[len(mount.path.rstrip("/")) :]
    if inner and mount.kind == "file":
        raise EngineError(f"{place}: not a directory: {mount.path} is a mounted file")
    if not inner and (mount.kind == "file" or change.kind != "directory"):
        return _changed(old.without_mount(mount.path), replace(change, path=place), Args())
    return old.with_edit(mount.path, replace(change, path=inner or "/"))


def _with_rootfs(engine: Engine, old: Container, args: Args) -> Container:
    source = read_once(partial(engine.tree, args.directory))
    change = Change(kind="directory", path="/", source=source)
    return replace(old, files=Edit(below=Image(), change=change))


def _directory(_engine: Engine, old: Container, args: Args) -> Directory:
    place = absolute_path(old, args)
    _require_content(place, old.covering(place))
    return Directory(container=old, path=place)


async def _file(engine: Engine, old: Container, args: Args) -> File:
    place = absolute_path(old, args)
    _require_content(place, old.covering(place))
    directory = Directory(container=old)
    return as_file(directory, place, (await engine.files.tree(old, place)).root)


def _require_content(place: str, mount: Mount | None) -> None:
    if mount is None or mount.kind in CONTENT_MOUNTS:
        return
    if mount.kind == "secret":
        raise not_found(place)
    kind = "tmpfs" if mount.kind == "temp" else mount.kind
    raise EngineError(f"{place}: cannot retrieve path from {kind}: only commands can")


async def _look(
    engine: Engine, old: Container, args: Args, *, follow: bool
) -> tuple[str, Entry | None]:
    place = absolute_path(old, args)
    _require_content(place, old.covering(place))
    return await engine.files.look(old, place, follow=follow)


# --- mounts ---------------------------------------------------------------------------------
def _with_mount(kind: Any) -> Resolver:
    """Return the resolver that adds the mount in its arguments."""

    async def mount(engine: Engine, old: Container, args: Args) -> Container:
        new = Mount(path=absolute_path(old, args), kind=kind, edits=_owner_of_mount(old, args))
        match kind:
            case "directory":
                source = read_once(partial(engine.tree, args.source))
                new = replace(new, source=source, read_only=bool(args.readOnly))
            case "file":
                new = replace(new, source=read_once(partial(_file_tree, engine, args)))
            case "secret":
                owner = args.owner or ""
                new = replace(new, edits=(), secret=args.source, mode=args.mode, owner=owner)
            case "temp":
                new = replace(new, size=args.size)
            case _:
                new = await _cache(engine, new, args)
        return old.with_mount(new)

    return mount


def _owner_of_mount(old: Container, args: Args) -> tuple[Change, ...]:
    if not args.owner:
        return ()
    return (Change(kind="owner", path="/", owner=args.owner, owners=old.files),)


async def _file_tree(engine: Engine, args: Args) -> Tree:
    file: File = await engine.value(args.source)
    return Tree({"": file.entry})


async def _cache(engine: Engine, mount: Mount, args: Args) -> Mount:
    cache: CacheVolume = await engine.value(args.cache)
    source: TreeSource | None = partial(engine.tree, args.source) if args.source else cache.source
    sharing = cache.sharing if args.sharing == "SHARED" else args.sharing
    owner = args.owner or cache.owner
    return replace(mount, edits=(), name=cache.name, source=source, sharing=sharing, owner=owner)


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
    "sync": lambda engine, old, _args: engine.files.state(old.files),
    "up": lambda engine, old, args: up(engine, _serving(old, args), args),
    "withDirectory": _put(copied_directory),
    "withError": with_error,
    "withExec": _with_exec,
    "withFile": _put(copied_file),
    "withFiles": _put(copied_files),
    "withMountedCache": _with_mount("cache"),
    "withMountedDirectory": _with_mount("directory"),
    "withMountedFile": _with_mount("file"),
    "withMountedSecret": _with_mount("secret"),
    "withMountedTemp": _with_mount("temp"),
    "withNewFile": _with_new_file,
    "withRootfs": _with_rootfs,
    "withSymlink": _with_symlink,
    "withoutDirectory": _remove,
    "withoutFile": _remove,
    "withoutFiles": _remove,
    "withoutMount": lambda _engine, old, args: old.without_mount(absolute_path(old, args)),
} | path_fields(_look)
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
