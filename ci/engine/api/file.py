"""Fields of File."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from posixpath import basename
from typing import Any

import anyio.to_thread

from ci.engine.api.files import stat_of, valid_owner
from ci.engine.api.query import valid_name
from ci.engine.errors import EngineError
from ci.engine.execution.session import Engine
from ci.engine.fields import Args, register
from ci.engine.formats.envfile import EnvFile
from ci.engine.sources import host_exports
from ci.engine.store.edits import owned
from ci.engine.store.tree import Tree
from ci.engine.values import File

#: Bytes from which on a file is not returned as a text.
MAX_CONTENTS = 128 << 20


def _contents(engine: Engine, old: File, args: Args) -> str:
    return _lines(engine, old, args.offsetLines, args.limitLines).decode(errors="replace")


def _lines(engine: Engine, old: File, offset: int | None, limit: int | None) -> bytes:
    """Return the lines of a file; they end with a newline only."""
    data = engine.store.read(old.entry.content) if limit != 0 else b""
    if offset is not None or limit is not None:
        lines = re.findall(rb"[^\n]*\n|[^\n]+", data)[max(0, offset or 0) :]
        data = b"".join(lines if limit is None or limit < 0 else lines[:limit])
    if len(data) >= MAX_CONTENTS:
        raise EngineError(
            f"{old.name}: file size {len(data)} exceeds limit {MAX_CONTENTS}; export the file"
        )
    return data


def _file_digest(_engine: Engine, old: File, args: Args) -> str:
    whole = Tree({"": old.entry}).digest
    return f"sha256:{old.entry.content if args.excludeMetadata else whole}"


def _replaced(engine: Engine, old: File, args: Args) -> File:
    skipped = max(0, (args.firstFrom or 1) - 1)
    head = _lines(engine, old, None, skipped)
    text, search = _lines(engine, old, skipped, None), args.search.encode()
    found = [hit.start() for hit in re.finditer(re.escape(search), text)]
    if not found and not args.all:
        raise EngineError(f"{old.name}: search string not found: {args.search!r}")
    if len(found) > 1 and not args.all and args.firstFrom is None:
        numbers = [text.count(b"\n", 0, at) + 1 for at in found]
        lines = ", ".join(f"line {number}" for number in numbers)
        raise EngineError(f"{old.name}: search string found multiple times: {lines} (see `all`)")
    count = -1 if args.all else 1
    data = head + text.replace(search, args.replacement.encode(), count)
    return _with(old, size=len(data), content=engine.store.add_bytes(data))


def _with(old: File, **facts: Any) -> File:
    return replace(old, entry=old.entry._replace(**facts))


async def _file_chown(engine: Engine, old: File, args: Args) -> File:
    owner = await engine.owner(old.directory, valid_owner(args))
    return replace(old, entry=owned(old.entry, owner))


async def _file_export(engine: Engine, old: File, args: Args) -> str:
    return await exported(engine, old, args.path, into=bool(args.allowParentDirPath))


async def exported(engine: Engine, file: File, path: str, *, into: bool = False) -> str:
    """Write a file to this host, into an existing directory if `into`; return its path."""
    place = await anyio.Path(path).absolute()
    if into and await place.is_dir():
        place /= basename(file.name)
    await place.parent.mkdir(parents=True, exist_ok=True)
    write = partial(host_exports.export_file, engine.store, file.entry, Path(place))
    for lost in await anyio.to_thread.run_sync(write):
        engine.options.log(f"export to {place}: {lost}")
    return str(place)


def _with_name(_engine: Engine, old: File, args: Args) -> File:
    return replace(old, name=valid_name(args.name))


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
        "withName": _with_name,
        "withReplaced": _replaced,
        "withTimestamps": lambda _engine, old, args: _with(old, mtime=args.timestamp, dated=True),
    },
)
