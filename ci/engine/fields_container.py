"""Fields of Container: each returns another frozen container; nothing runs before a result."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from posixpath import basename, join
from typing import Any

import anyio.to_thread

from ci.engine import tree
from ci.engine.engine import Engine
from ci.engine.errors import EngineError
from ci.engine.fields import field, value_call
from ci.engine.fields_directory import (
    container_file,
    file_tree,
    is_there,
    moded,
    new_file,
    selected,
    stat_of,
)
from ci.engine.fields_query import ports
from ci.engine.host import write
from ci.engine.ids import Call
from ci.engine.tree import DIRECTORY, FILE, LINK, Entry, Tree
from ci.engine.values import (
    Cache,
    Container,
    Directory,
    Edit,
    File,
    Lazy,
    Mount,
    Port,
    Ran,
    Service,
    assigned,
    expanded,
)


def constant(content: Tree) -> Lazy:
    """Return a content that is known already."""

    async def source() -> Tree:
        return content

    return source


# --- images ---------------------------------------------------------------------------------
@field("Container.from", registryService=None)
async def from_(engine: Engine, old: Container, address: str) -> Container:
    return await engine.images.start(old, address)


@field("Container.imageRef")
async def image_ref(_engine: Engine, old: Container) -> str:
    if not old.image_ref:
        raise EngineError("the container comes from no image of a registry")
    return old.image_ref


@field("Container.platform")
async def platform(_engine: Engine, old: Container) -> str:
    return old.platform


IMAGE_ONLY = {"platformVariants": [], "forcedCompression": None, "mediaTypes": "OCIMediaTypes"}


@field("Container.publish", registryService=None, platformVariants=[], forcedCompression=None)
async def publish(engine: Engine, old: Container, address: str, mediaTypes: str) -> str:  # noqa: ARG001, N803
    # The registry gets Docker's media types: Docker pushes, and knows no others.
    return await engine.images.publish(old, address)


@field("Container.asTarball", **IMAGE_ONLY)
async def as_tarball(engine: Engine, old: Container) -> File:
    content, size = await engine.images.tarball(old)
    return File(name="image.tar", entry=Entry(FILE, 0o644, size=size, content=content))


@field("Container.export", **IMAGE_ONLY)
async def export(engine: Engine, old: Container, path: str, expand: bool) -> str:
    text = expanded(path, dict(old.env)) if expand else path
    target = Path(text).absolute()  # noqa: ASYNC240
    file = await as_tarball(engine, old)
    target.parent.mkdir(parents=True, exist_ok=True)
    await anyio.to_thread.run_sync(write, engine.store, file.entry, target, target.parent)
    return str(target)


# --- commands -------------------------------------------------------------------------------
@field(
    "Container.withExec",
    experimentalPrivilegedNesting=False,
    insecureRootCapabilities=False,
    noInit=False,
)
async def with_exec(
    engine: Engine,
    old: Container,
    args: list[str],
    useEntrypoint: bool,  # noqa: N803
    stdin: str,
    redirectStdin: str,  # noqa: N803
    redirectStdout: str,  # noqa: N803
    redirectStderr: str,  # noqa: N803
    expect: Any,
    expand: bool,
) -> Container:
    command = old.command(args, use_entrypoint=useEntrypoint, expand=expand)
    ran = Ran(before=old, args=command, stdin=stdin, redirect=redirectStdin, expect=expect)
    mounts = tuple(
        replace(m, after=ran) if m.kind in ("directory", "file") else m for m in old.mounts
    )
    new = replace(old, files=ran, mounts=mounts, ran=ran)
    for path, stream in ((redirectStdout, "stdout"), (redirectStderr, "stderr")):
        if path:
            new = edited(new, path, partial(_stream_tree, engine, ran, stream), expand=expand)
    return new


async def _stream_tree(engine: Engine, ran: Ran, stream: str) -> Tree:
    content = getattr(await engine.steps.result(ran), stream)
    size = engine.store.path(content).stat().st_size
    return Tree({"": Entry(FILE, 0o644, size=size, content=content)})


@field("Container.stdout")
async def stdout(engine: Engine, old: Container) -> str:
    return engine.steps.text((await engine.steps.result(_ran(old))).stdout)


@field("Container.stderr")
async def stderr(engine: Engine, old: Container) -> str:
    return engine.steps.text((await engine.steps.result(_ran(old))).stderr)


@field("Container.combinedOutput")
async def combined_output(engine: Engine, old: Container) -> str:
    return engine.steps.text((await engine.steps.result(_ran(old))).combined)


@field("Container.exitCode")
async def exit_code(engine: Engine, old: Container) -> int:
    return (await engine.steps.result(_ran(old))).code


def _ran(old: Container) -> Ran:
    if old.ran is None:
        raise EngineError("no command has been run; use withExec first")
    return old.ran


@field("Container.sync")
async def sync(engine: Engine, old: Container) -> None:
    await engine.steps.state(old.files)


@field(
    "Container.asService",
    experimentalPrivilegedNesting=False,
    insecureRootCapabilities=False,
    noInit=False,
)
async def as_service(
    _engine: Engine,
    old: Container,
    args: list[str],
    useEntrypoint: bool,  # noqa: N803
    expand: bool,
) -> Service:
    command = old.command(args, use_entrypoint=useEntrypoint, expand=expand)
    return Service(container=old, args=command)


# --- files ----------------------------------------------------------------------------------
def edited(
    old: Container, path: str, source: Lazy, *, owner: str = "", expand: bool = False
) -> Container:
    """Return a container with a content laid over a path, in the mount that has it, if any."""
    place = old.absolute(path, expand=expand)
    mount = old.covering(place)
    if mount is None:
        return replace(old, files=Edit(below=old.files, path=place, source=source, owner=owner))
    raise EngineError(f"{place} lies in the mount {mount.path}: put it there before mounting")


@field("Container.withNewFile")
async def with_new_file(
    engine: Engine,
    old: Container,
    path: str,
    contents: str,
    permissions: int,
    owner: str,
    expand: bool,
) -> Container:
    source = constant(Tree({"": new_file(engine, contents, permissions)}))
    return edited(old, path, source, owner=owner, expand=expand)


@field("Container.withDirectory")
async def with_directory(
    engine: Engine,
    old: Container,
    path: str,
    source: Call,
    include: list[str],
    exclude: list[str],
    gitignore: bool,
    owner: str,
    expand: bool,
    permissions: int | None = None,
) -> Container:
    async def content() -> Tree:
        found = await selected(engine, source, include, exclude, gitignore)
        return moded(found, permissions)

    return edited(old, path, content, owner=owner, expand=expand)


@field("Container.withFile")
async def with_file(
    engine: Engine,
    old: Container,
    path: str,
    source: Call,
    owner: str,
    expand: bool,
    permissions: int | None = None,
) -> Container:
    content = partial(file_tree, engine, source, permissions)
    if path.endswith("/"):
        path = join(path, (await engine.value(source)).name)
    return edited(old, path, content, owner=owner, expand=expand)


@field("Container.withFiles")
async def with_files(
    engine: Engine,
    old: Container,
    path: str,
    sources: list[Call],
    owner: str,
    expand: bool,
    permissions: int | None = None,
) -> Container:
    async def content() -> Tree:
        found = Tree()
        for source in sources:
            name = basename((await engine.value(source)).name)
            found = tree.put(found, name, await file_tree(engine, source, permissions))
        return found

    return edited(old, path, content, owner=owner, expand=expand)


@field("Container.withSymlink")
async def with_symlink(
    _engine: Engine,
    old: Container,
    target: str,
    linkName: str,
    expand: bool,  # noqa: N803
) -> Container:
    link = expanded(target, dict(old.env)) if expand else target
    content = constant(Tree({"": Entry(LINK, 0o777, content=link)}))
    return edited(old, linkName, content, expand=expand)


@field("Container.withRootfs")
async def with_rootfs(engine: Engine, old: Container, directory: Call) -> Container:
    from ci.engine.values import Image

    below = Image(id="")
    return replace(old, files=Edit(below=below, path="/", source=lambda: engine.tree(directory)))


def _removed(old: Container, path: str, expect: Any, *, expand: bool) -> Container:
    place = old.absolute(path, expand=expand)
    return replace(old, files=Edit(below=old.files, path=place, expect=expect))


@field("Container.withoutFile")
async def without_file(_engine: Engine, old: Container, path: str, expand: bool) -> Container:
    return _removed(old, path, "f", expand=expand)


@field("Container.withoutDirectory")
async def without_directory(_engine: Engine, old: Container, path: str, expand: bool) -> Container:
    return _removed(old, path, "d", expand=expand)


@field("Container.withoutFiles")
async def without_files(
    _engine: Engine, old: Container, paths: list[str], expand: bool
) -> Container:
    for path in paths:
        old = _removed(old, path, "f", expand=expand)
    return old


@field("Container.directory")
async def directory(_engine: Engine, old: Container, path: str, expand: bool) -> Directory:
    place = old.absolute(path, expand=expand)
    _readable(old, place)
    return Directory(container=old, path=place, name=basename(place) + "/")


@field("Container.rootfs")
async def rootfs(_engine: Engine, old: Container) -> Directory:
    return Directory(container=replace(old, mounts=()), path="/")


@field("Container.file")
async def file(engine: Engine, old: Container, path: str, expand: bool) -> File:
    place = old.absolute(path, expand=expand)
    _readable(old, place)
    return await container_file(engine, old, place)


def _readable(old: Container, place: str) -> None:
    mount = old.covering(place)
    if mount is not None and mount.kind in ("cache", "secret", "temp"):
        raise EngineError(f"{place}: cannot be read, it is a {mount.kind} mount")


@field("Container.exists")
async def exists(
    engine: Engine,
    old: Container,
    path: str,
    doNotFollowSymlinks: bool,  # noqa: N803
    expand: bool,
    expectedType: str | None = None,  # noqa: N803
) -> bool:
    place = old.absolute(path, expand=expand)
    mount = old.covering(place)
    if mount is not None and mount.kind in ("directory", "file"):
        content, inner = await engine.steps.content(mount), place[len(mount.path) :]
        return is_there(content, inner, expectedType, follow=not doNotFollowSymlinks)
    state = await engine.steps.state(old.files)
    follow = not doNotFollowSymlinks and expectedType != "SYMLINK_TYPE"
    canonical, _ = await engine.rootfs.resolve(state, place, follow=follow)
    entry = await engine.rootfs.at(state, canonical)
    if entry is None:
        return False
    return is_there(Tree({"": entry}), "/", expectedType, follow=False)


@field("Container.stat")
async def stat(engine: Engine, old: Container, path: str, doNotFollowSymlinks: bool) -> Any:  # noqa: N803
    state = await engine.steps.state(old.files)
    place = old.absolute(path)
    canonical, _ = await engine.rootfs.resolve(state, place, follow=not doNotFollowSymlinks)
    entry = await engine.rootfs.at(state, canonical)
    if entry is None:
        raise tree.missing(path)
    return stat_of(basename(canonical), entry)


# --- mounts ---------------------------------------------------------------------------------
@field("Container.withMountedDirectory")
async def with_mounted_directory(
    engine: Engine,
    old: Container,
    path: str,
    source: Call,
    owner: str,
    readOnly: bool,
    expand: bool,  # noqa: N803
) -> Container:
    content = lambda: engine.tree(source)  # noqa: E731
    place = old.absolute(path, expand=expand)
    return old.with_mount(
        Mount(path=place, kind="directory", source=content, owner=owner, read_only=readOnly)
    )


@field("Container.withMountedFile")
async def with_mounted_file(
    engine: Engine, old: Container, path: str, source: Call, owner: str, expand: bool
) -> Container:
    content = partial(file_tree, engine, source)
    place = old.absolute(path, expand=expand)
    return old.with_mount(Mount(path=place, kind="file", source=content, owner=owner))


@field("Container.withMountedCache")
async def with_mounted_cache(
    engine: Engine,
    old: Container,
    path: str,
    cache: Call,
    sharing: str,
    owner: str,
    expand: bool,
    source: Call | None = None,
) -> Container:
    volume: Cache = await engine.value(cache)
    first = (lambda: engine.tree(source)) if source else volume.source
    return old.with_mount(
        Mount(
            path=old.absolute(path, expand=expand),
            kind="cache",
            name=volume.name,
            source=first,
            sharing=sharing if sharing != "SHARED" else volume.sharing,
            owner=owner or volume.owner,
        )
    )


@field("Container.withMountedSecret")
async def with_mounted_secret(
    _engine: Engine, old: Container, path: str, source: Call, owner: str, mode: int, expand: bool
) -> Container:
    place = old.absolute(path, expand=expand)
    return old.with_mount(Mount(path=place, kind="secret", secret=source, owner=owner, mode=mode))


@field("Container.withMountedTemp")
async def with_mounted_temp(
    _engine: Engine, old: Container, path: str, expand: bool, size: int | None = None
) -> Container:
    return old.with_mount(Mount(path=old.absolute(path, expand=expand), kind="temp", size=size))


@field("Container.withoutMount")
async def without_mount(_engine: Engine, old: Container, path: str, expand: bool) -> Container:
    return old.without_mount(old.absolute(path, expand=expand))


@field("Container.mounts")
async def mounts(_engine: Engine, old: Container) -> list[str]:
    return [mount.path for mount in old.mounts]


# --- configuration --------------------------------------------------------------------------
@field("Container.withEnvVariable")
async def with_env_variable(
    _engine: Engine, old: Container, name: str, value: str, expand: bool
) -> Container:
    text = expanded(value, dict(old.env)) if expand else value
    secrets = tuple(pair for pair in old.secrets if pair[0] != name)
    return replace(old, env=assigned(old.env, name, text), secrets=secrets)


@field("Container.withoutEnvVariable")
async def without_env_variable(_engine: Engine, old: Container, name: str) -> Container:
    return replace(old, env=assigned(old.env, name, None))


@field("Container.envVariable")
async def env_variable(_engine: Engine, old: Container, name: str) -> str | None:
    return dict(old.env).get(name)


@field("Container.envVariables")
async def env_variables(_engine: Engine, old: Container) -> list[Call]:
    return [value_call("EnvVariable", name=name, value=value) for name, value in old.env]


@field("Container.withSecretVariable")
async def with_secret_variable(
    _engine: Engine, old: Container, name: str, secret: Call
) -> Container:
    kept = tuple(pair for pair in old.secrets if pair[0] != name)
    return replace(old, secrets=(*kept, (name, secret)), env=assigned(old.env, name, None))


@field("Container.withoutSecretVariable")
async def without_secret_variable(_engine: Engine, old: Container, name: str) -> Container:
    return replace(old, secrets=tuple(pair for pair in old.secrets if pair[0] != name))


@field("Container.withWorkdir")
async def with_workdir(_engine: Engine, old: Container, path: str, expand: bool) -> Container:
    return replace(old, workdir=old.absolute(path, expand=expand))


@field("Container.withUser")
async def with_user(_engine: Engine, old: Container, name: str) -> Container:
    return replace(old, user=name)


@field("Container.withEntrypoint")
async def with_entrypoint(
    _engine: Engine,
    old: Container,
    args: list[str],
    keepDefaultArgs: bool,  # noqa: N803
) -> Container:
    return replace(old, entrypoint=tuple(args), args=old.args if keepDefaultArgs else ())


@field("Container.withoutEntrypoint")
async def without_entrypoint(_engine: Engine, old: Container, keepDefaultArgs: bool) -> Container:  # noqa: N803
    return replace(old, entrypoint=(), args=old.args if keepDefaultArgs else ())


@field("Container.withDefaultArgs")
async def with_default_args(_engine: Engine, old: Container, args: list[str]) -> Container:
    return replace(old, args=tuple(args))


def _cleared(name: str, value: Any) -> Callable[[Engine, Container], Awaitable[Container]]:
    async def clear(_engine: Engine, old: Container) -> Container:
        return replace(old, **{name: value})

    return clear


field("Container.withoutDefaultArgs")(_cleared("args", ()))
field("Container.withoutWorkdir")(_cleared("workdir", ""))
field("Container.withoutUser")(_cleared("user", ""))


def _got(name: str, shown: Callable[[Any], Any]) -> Callable[[Engine, Container], Awaitable[Any]]:
    async def get(_engine: Engine, old: Container) -> Any:
        return shown(getattr(old, name))

    return get


field("Container.workdir")(_got("workdir", str))
field("Container.user")(_got("user", str))
field("Container.entrypoint")(_got("entrypoint", list))
field("Container.defaultArgs")(_got("args", list))


@field("Container.withLabel")
async def with_label(_engine: Engine, old: Container, name: str, value: str) -> Container:
    return replace(old, labels=assigned(old.labels, name, value))


@field("Container.withoutLabel")
async def without_label(_engine: Engine, old: Container, name: str) -> Container:
    return replace(old, labels=assigned(old.labels, name, None))


@field("Container.label")
async def label(_engine: Engine, old: Container, name: str) -> str | None:
    return dict(old.labels).get(name)


@field("Container.labels")
async def labels(_engine: Engine, old: Container) -> list[Call]:
    return [value_call("Label", name=name, value=value) for name, value in old.labels]


@field("Container.withExposedPort")
async def with_exposed_port(
    _engine: Engine,
    old: Container,
    port: int,
    protocol: str,
    experimentalSkipHealthcheck: bool,  # noqa: N803
    description: str | None = None,
) -> Container:
    new = Port(
        port=port,
        protocol=protocol,
        description=description,
        skip_healthcheck=experimentalSkipHealthcheck,
    )
    return replace(old, ports=(*_other_ports(old, port, protocol), new))


@field("Container.withoutExposedPort")
async def without_exposed_port(
    _engine: Engine, old: Container, port: int, protocol: str
) -> Container:
    return replace(old, ports=_other_ports(old, port, protocol))


def _other_ports(old: Container, port: int, protocol: str) -> tuple[Port, ...]:
    return tuple(each for each in old.ports if (each.port, each.protocol) != (port, protocol))


@field("Container.exposedPorts")
async def exposed_ports(_engine: Engine, old: Container) -> list[Call]:
    return ports(old)


@field("Container.withServiceBinding")
async def with_service_binding(
    _engine: Engine, old: Container, alias: str, service: Call
) -> Container:
    return replace(old, services=(*old.services, (alias, service)))


@field("Container.withRegistryAuth")
async def with_registry_auth(
    engine: Engine, old: Container, address: str, username: str, secret: Call
) -> Container:
    kept = await without_registry_auth(engine, old, address)
    return replace(kept, auth=(*kept.auth, (address, username, secret)))


@field("Container.withoutRegistryAuth")
async def without_registry_auth(_engine: Engine, old: Container, address: str) -> Container:
    return replace(old, auth=tuple(each for each in old.auth if each[0] != address))


__all__ = ["DIRECTORY"]
