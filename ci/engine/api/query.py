"""Fields of Query, Host, Secret and EnvFile, and of objects that are plain data."""

import os
from functools import partial
from pathlib import Path

import anyio.to_thread

from ci.engine.errors import EngineError
from ci.engine.execution.session import Engine
from ci.engine.fields import Args, plain_object, register
from ci.engine.formats.envfile import EnvFile
from ci.engine.sources import host_files
from ci.engine.sources.secrets import reveal
from ci.engine.store.tree import FILE, Entry, Tree, clean
from ci.engine.values import CacheVolume, Container, Directory, File, Secret

#: The Dagger release whose API this engine serves.
VERSION = "v0.21.8"


def _container(engine: Engine, _query: None, args: Args) -> Container:
    engine.require_platform(args.platform)
    return Container(platform=engine.platform)


def new_file(engine: Engine, args: Args) -> Entry:
    """Return the entry of a file with the contents and permissions in the arguments."""
    data = args.contents.encode("utf-8", "surrogateescape")
    mode = (args.permissions or 0o644) & 0o777
    return Entry(FILE, mode, size=len(data), content=engine.store.add_bytes(data))


def valid_name(name: str) -> str:
    """Return the name of a file; raises `EngineError` if a file cannot have it."""
    if "/" in name:
        raise EngineError(f"file name {name!r} must not contain a directory")
    if clean(name) != name or not name:
        raise EngineError(f"file name {name!r}: is a directory")
    return name


def _cache(engine: Engine, _query: None, args: Args) -> CacheVolume:
    source = None if args.source is None else lambda: engine.tree(args.source)
    return CacheVolume(name=args.key, source=source, sharing=args.sharing, owner=args.owner)


def _set_secret(engine: Engine, _query: None, args: Args) -> Secret:
    """Return a secret; in `plaintext`, the query's value was replaced by its hash."""

    async def value() -> bytes:
        if args.plaintext not in engine.plaintexts:
            raise EngineError(f"secret {args.name}: set it in this session, it was set in another")
        return engine.plaintexts[args.plaintext]

    return Secret(name=args.name, uri="", reveal=value)


register(
    "Query",
    {
        "cacheVolume": _cache,
        "container": _container,
        "defaultPlatform": lambda engine, _query, _args: engine.platform,
        "directory": lambda *_: Directory(tree=Tree()),
        "envFile": lambda *_: EnvFile(),
        "file": lambda engine, _query, args: File(
            name=valid_name(args.name), entry=new_file(engine, args)
        ),
        "host": lambda *_: "host",
        "secret": lambda _engine, _query, args: Secret(
            name=args.uri, uri=args.uri, cache_key=args.cacheKey, reveal=lambda: reveal(args.uri)
        ),
        "setSecret": _set_secret,
        "version": lambda *_: VERSION,
    },
)


async def _plaintext(_engine: Engine, secret: Secret, _args: Args) -> str:
    return (await secret.reveal()).decode()


register(
    "Secret",
    {
        "name": lambda _engine, secret, _args: secret.name,
        "plaintext": _plaintext,
        "uri": lambda _engine, secret, _args: secret.uri,
    },
)


# --- this host ------------------------------------------------------------------------------
def _local(path: str) -> Path:
    return Path(path).expanduser().absolute()


async def _host_directory(engine: Engine, _host: str, args: Args) -> Directory:
    root, ignore = _local(args.path), bool(args.gitignore)
    read = partial(
        host_files.upload, engine.store, root, args.include, args.exclude, gitignore=ignore
    )
    return Directory(tree=await anyio.to_thread.run_sync(read))


async def _host_file(engine: Engine, _host: str, args: Args) -> File:
    source = _local(args.path)
    entry = await anyio.to_thread.run_sync(host_files.upload_file, engine.store, source)
    return File(name=source.name, entry=entry)


def _host_find_up(_engine: Engine, _host: str, args: Args) -> str | None:
    here = Path.cwd()
    found = (folder / args.name for folder in (here, *here.parents))
    return next((os.path.relpath(path, here) for path in found if path.exists()), None)


register(
    "Host",
    {
        "containerImage": lambda engine, _host, args: engine.images.from_local(args.name),
        "directory": _host_directory,
        "file": _host_file,
        "findUp": _host_find_up,
    },
)


# --- files of variables -----------------------------------------------------------------------
def _env_file(engine: Engine, old: EnvFile, _args: Args) -> File:
    args = Args(contents=old.text(), permissions=0o644)
    return File(name=".env", entry=new_file(engine, args))


def _pairs(args: Args, old: EnvFile) -> dict[str, str]:
    return dict(sorted(old.raw)) if args.raw else old.values()


register(
    "EnvFile",
    {
        "asFile": _env_file,
        "exists": lambda _engine, old, args: args.name in dict(old.raw),
        "get": lambda _engine, old, args: (
            dict(old.raw).get(args.name, "") if args.raw else old.get(args.name)
        ),
        "namespace": lambda _engine, old, args: old.namespace(args.prefix),
        "variables": lambda _engine, old, args: [
            plain_object("EnvVariable", name=name, value=value)
            for name, value in _pairs(args, old).items()
        ],
        "withVariable": lambda _engine, old, args: old.with_variable(args.name, args.value),
        "withoutVariable": lambda _engine, old, args: old.with_variable(args.name, None),
    },
)
