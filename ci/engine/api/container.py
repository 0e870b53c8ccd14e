"""Fields of Container: each returns another frozen container; nothing runs before a result."""

from dataclasses import replace
from functools import partial
from posixpath import basename
from typing import Any

from ci.engine.api.container_config import asked, text
from ci.engine.api.files import (
    Content,
    as_file,
    directory_content,
    exported,
    file_content,
    files_content,
    link_content,
    looking,
    new_content,
    target,
    with_error,
)
from ci.engine.api.service import up
from ci.engine.errors import EngineError
from ci.engine.execution.session import Engine
from ci.engine.fields import Args, Resolver, answers
from ci.engine.store import tree
from ci.engine.store.oci import Form
from ci.engine.store.tree import FILE, Entry, Tree
from ci.engine.values import (
    CONTENT,
    Cache,
    Container,
    Directory,
    Edit,
    File,
    Image,
    Lazy,
    Mount,
    Ran,
    Service,
)


# --- images ---------------------------------------------------------------------------------
def _image_ref(_engine: Engine, old: Container, _args: Args) -> str:
    if not old.image_ref:
        raise EngineError("the container comes from no image of a registry")
    return old.image_ref


async def _as_tarball(engine: Engine, old: Container, args: Args) -> File:
    chosen = await engine.images.variant(old, args.platformVariants or [])
    form = Form.of(args.mediaTypes, args.forcedCompression, dict(chosen.annotations))
    content, size = await engine.images.tarball(chosen, form)
    return File(name="image.tar", entry=Entry(FILE, 0o644, size=size, content=content))


async def _export(engine: Engine, old: Container, args: Args) -> str:
    return await exported(engine, await _as_tarball(engine, old, args), text(old, args.path, args))


async def _publish(engine: Engine, old: Container, args: Args) -> str:
    chosen = await engine.images.variant(old, args.platformVariants or [])
    return await engine.images.publish(replace(chosen, auth=old.auth or chosen.auth), args.address)


async def _export_image(engine: Engine, old: Container, args: Args) -> None:
    chosen = await engine.images.variant(old, args.platformVariants or [])
    await engine.images.export(chosen, args.name)


async def _import(engine: Engine, old: Container, args: Args) -> Container:
    return await engine.images.imported(old, await engine.value(args.source), args.tag)


# --- commands -------------------------------------------------------------------------------
def _command(old: Container, args: Args) -> tuple[str, ...]:
    found = tuple(text(old, arg, args) for arg in args.args) or old.args
    if args.useEntrypoint:
        found = old.entrypoint + found
    if not found:
        raise EngineError("no command has been set")
    return found


def _serving(old: Container, args: Args) -> Service:
    # What is in no key of a command is told to a service all the same.
    container = replace(old, env=(*old.env, *old.volatile), volatile=())
    return Service(container=container, args=_command(old, args))


def _with_exec(engine: Engine, old: Container, args: Args) -> Container:
    ran = Ran(
        before=old,
        args=_command(old, args),
        stdin=args.stdin,
        redirect=text(old, args.redirectStdin, args),
        expect=args.expect,
    )
    mounts = tuple(replace(m, after=ran) if m.kind in CONTENT else m for m in old.mounts)
    new = replace(old, files=ran, mounts=mounts, ran=ran)
    for path, stream in ((args.redirectStdout, "stdout"), (args.redirectStderr, "stderr")):
        if path:
            place = new.absolute(text(old, path, args))
            new = _edited(engine, new, place, partial(_stream, engine, ran, stream))
    return new


async def _stream(engine: Engine, ran: Ran, name: str) -> Tree:
    content = getattr(await engine.steps.result(ran), name)
    size = engine.store.path(content).stat().st_size
    return Tree({"": Entry(FILE, 0o644, size=size, content=content)})


def _output(name: str) -> Resolver:
    async def read(engine: Engine, old: Container, _args: Args) -> Any:
        if old.ran is None:
            raise EngineError("no command has been run; use withExec first")
        found = getattr(await engine.steps.result(old.ran), name)
        return found if name == "code" else engine.steps.text(found)

    return read


# --- files ----------------------------------------------------------------------------------
def _laying(content: Content) -> Resolver:
    """Return the resolver that lays a content over the path in its arguments."""

    async def lay(engine: Engine, old: Container, args: Args) -> Container:
        path = await target(engine, args) if content is file_content else args.path
        place = old.absolute(text(old, path or args.linkName, args))
        return _edited(engine, old, place, partial(content, engine, args), owner=args.owner or "")

    return lay


def _removing(expect: str) -> Resolver:
    """Return the resolver that removes the path or paths in its arguments."""

    def remove(engine: Engine, old: Container, args: Args) -> Container:
        for path in args.paths or [args.path]:
            old = _edited(engine, old, old.absolute(text(old, path, args)), None, expect=expect)
        return old

    return remove


def _edited(
    engine: Engine, old: Container, place: str, source: Lazy | None, **how: str
) -> Container:
    """Return a container with an edit, in what is mounted at its place or else in its files."""
    edit, mount = Edit(below=old.files, path=place, source=source, **how), old.covering(place)
    if mount is None:
        return replace(old, files=edit)
    _readable(mount.path, mount)

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
    source: Lazy = partial(engine.tree, args.directory)
    return replace(old, files=Edit(below=Image(), path="/", source=source))


def _directory(_engine: Engine, old: Container, args: Args) -> Directory:
    place = asked(old, args)
    _readable(place, old.covering(place))
    return Directory(container=old, path=place, name=basename(place) + "/")


async def _file(engine: Engine, old: Container, args: Args) -> File:
    place = asked(old, args)
    _readable(place, old.covering(place))
    return as_file(place, (await engine.steps.tree(old, place)).root)


def _readable(place: str, mount: Mount | None) -> None:
    if mount is not None and mount.kind not in CONTENT:
        raise EngineError(f"{place}: cannot be read or written here, it is a {mount.kind} mount")


async def _entry(
    engine: Engine, old: Container, args: Args, *, follow: bool
) -> tuple[str, Entry | None]:
    place = asked(old, args)
    mount = old.covering(place)
    if mount is not None and mount.kind in CONTENT:
        content = await engine.steps.content(mount)
        return place, tree.found(content, place[len(mount.path) :], follow=follow)[1]
    state = await engine.steps.state(old.files)
    canonical, _ = await engine.rootfs.resolve(state, place, follow=follow)
    return place, await engine.rootfs.at(state, canonical)


# --- mounts ---------------------------------------------------------------------------------
def _mounting(kind: Any) -> Resolver:
    """Return the resolver that mounts what is in its arguments."""

    async def mount(engine: Engine, old: Container, args: Args) -> Container:
        new = Mount(path=asked(old, args), kind=kind, owner=args.owner or "")
        match kind:
            case "directory":
                source: Lazy = partial(engine.tree, args.source)
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
    cache: Cache = await engine.value(args.cache)
    source: Lazy | None = partial(engine.tree, args.source) if args.source else cache.source
    sharing = cache.sharing if args.sharing == "SHARED" else args.sharing
    owner = mount.owner or cache.owner
    return replace(mount, name=cache.name, source=source, sharing=sharing, owner=owner)


#: What this engine gives no command: the engine itself, more rights, process number 1.
_ORDINARY: dict[str, Any] = {
    "experimentalPrivilegedNesting": False,
    "insecureRootCapabilities": False,
    "noInit": False,
}

answers(
    "Container",
    {
        "asService": lambda _engine, old, args: _serving(old, args),
        "asTarball": _as_tarball,
        "combinedOutput": _output("combined"),
        "directory": _directory,
        "exitCode": _output("code"),
        "export": _export,
        "exportImage": _export_image,
        "file": _file,
        "from": lambda engine, old, args: engine.images.start(old, args.address),
        "imageRef": _image_ref,
        "import": _import,
        "mounts": lambda _engine, old, _args: [mount.path for mount in old.mounts],
        "publish": _publish,
        "rootfs": lambda _engine, old, _args: Directory(container=replace(old, mounts=())),
        "stderr": _output("stderr"),
        "stdout": _output("stdout"),
        "sync": lambda engine, old, _args: engine.steps.state(old.files),
        "up": lambda engine, old, args: up(engine, _serving(old, args), args),
        "withDirectory": _laying(directory_content),
        "withError": with_error,
        "withExec": _with_exec,
        "withFile": _laying(file_content),
        "withFiles": _laying(files_content),
        "withMountedCache": _mounting("cache"),
        "withMountedDirectory": _mounting("directory"),
        "withMountedFile": _mounting("file"),
        "withMountedSecret": _mounting("secret"),
        "withMountedTemp": _mounting("temp"),
        "withNewFile": _laying(new_content),
        "withRootfs": _with_rootfs,
        "withSymlink": _laying(link_content),
        "withoutDirectory": _removing("d"),
        "withoutFile": _removing("f"),
        "withoutFiles": _removing("f"),
        "withoutMount": lambda _engine, old, args: old.without_mount(asked(old, args)),
    }
    | looking(_entry),
    asService=_ORDINARY,
    exportImage={"forcedCompression": None},
    # Docker pushes with its own media types, whatever is asked for.
    publish={"forcedCompression": None, "registryService": None},
    up=_ORDINARY,
    withExec=_ORDINARY,
    **{"from": {"registryService": None}},
)
