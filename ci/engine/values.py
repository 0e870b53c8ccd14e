"""Containers, files, services and secrets as frozen values.

A container's files are a chain: an image, edits, commands. No link of it is executed before a
result of it is requested.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from posixpath import join, normpath
from typing import Any, Literal, TypeVar

from ci.engine.errors import EngineError
from ci.engine.healthcheck import Healthcheck
from ci.engine.ids import Call
from ci.engine.store.tree import Entry, Tree

T = TypeVar("T")
#: Kinds of mounts whose content, as a command leaves it, the next command sees.
CONTENT_MOUNTS = ("directory", "file")
#: Reads a tree when it is needed.
TreeSource = Callable[[], Awaitable[Tree]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Image:
    """Files of an image that Docker has; the empty id means no files."""

    id: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Edit:
    """The files that a change of other files leaves."""

    below: "Files"
    change: "Change"


@dataclass(frozen=True, eq=False, kw_only=True)
class Exec:
    """The files that a command left."""

    before: "Container"
    args: tuple[str, ...]
    stdin: str = ""
    redirect_stdin: str = ""  # a file of the container that is its standard input
    expect: Literal["SUCCESS", "FAILURE", "ANY"] = "SUCCESS"


Files = Image | Edit | Exec


ChangeKind = Literal[
    "write", "file", "files", "directory", "link", "folder", "remove", "owner", "times"
]


@dataclass(frozen=True, eq=False, kw_only=True)
class Change:
    """One operation on the files of a container, a mount or a directory; see `store/edits.py`."""

    kind: ChangeKind
    path: str
    source: TreeSource | None = None  # what is written or copied; files: a directory with them
    target: str = ""  # of the link
    mode: int | None = None
    owner: str = ""
    owners: Files | None = None  # the files whose tables name the owner; None: the changed ones
    seconds: int = 0  # since 1970


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A directory, file, cache, secret or temporary space at a path; not part of the files."""

    path: str
    kind: Literal["directory", "file", "cache", "secret", "temp"]
    source: TreeSource | None = None
    edits: tuple[Change, ...] = ()  # of its content, since its source or the command in `after`
    owner: str = ""  # of a cache or a secret
    read_only: bool = False
    after: Exec | None = None  # the command that left its content; replaces `source`
    name: str = ""  # of a cache
    sharing: str = "SHARED"
    secret: Call | None = None
    mode: int = 0o400
    size: int | None = None  # of temporary space, in bytes


@dataclass(frozen=True, kw_only=True)
class Port:
    """A port that a container listens on."""

    port: int
    protocol: str = "TCP"
    description: str | None = None
    skip_healthcheck: bool = False


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container before anything is executed."""

    files: Files = field(default_factory=Image)
    platform: str
    image_ref: str = ""  # the image of `from`, until something is changed
    image_config: Mapping[str, Any] = field(default_factory=dict)  # what no field below holds
    env: tuple[tuple[str, str], ...] = ()
    user: str = ""
    workdir: str = ""
    entrypoint: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    args_set: bool = False  # by withDefaultArgs, so that they are a service's whole command
    labels: tuple[tuple[str, str], ...] = ()
    ports: tuple[Port, ...] = ()
    mounts: tuple[Mount, ...] = ()
    secrets: tuple[tuple[str, Call], ...] = ()
    services: tuple[tuple[str, Call], ...] = ()
    auth: tuple[tuple[str, tuple[str, Call]], ...] = ()  # registry, user name, password
    annotations: tuple[tuple[str, str], ...] = ()
    healthcheck: Healthcheck | None = None
    volatile: tuple[tuple[str, str], ...] = ()  # variables that are in no cache key
    last_exec: Exec | None = None

    def absolute(self, path: str) -> str:
        """Return a path from the root; a relative one starts at the working directory."""
        return normpath(join("/", self.workdir, path)).replace("//", "/")

    def covering(self, path: str) -> Mount | None:
        """Return the innermost mount that contains a path from the root.

        A secret hides another mount at its path from commands only.
        """
        found = [m for m in self.mounts if f"{path}/".startswith(m.path.rstrip("/") + "/")]
        return max(found, key=lambda m: (len(m.path), m.kind != "secret"), default=None)

    def without_mount(self, path: str) -> "Container":
        """Return the container without a mount at exactly this path."""
        return replace(self, mounts=tuple(m for m in self.mounts if m.path != path))

    def with_mount(self, mount: Mount) -> "Container":
        """Return the container with a mount, which replaces those at its path and below it.

        A secret replaces only a secret, another mount only other mounts.
        """
        if mount.kind == "secret":
            kept = [m for m in self.mounts if (m.path, m.kind) != (mount.path, "secret")]
            return replace(self, mounts=(*kept, mount))
        below = mount.path.rstrip("/") + "/"
        kept = [m for m in self.mounts if m.kind == "secret" or not f"{m.path}/".startswith(below)]
        return replace(self, mounts=(*kept, mount))

    def with_edit(self, path: str, change: Change) -> "Container":
        """Return the container with a change of the content of its mount at a path."""
        mounts = (
            replace(m, edits=(*m.edits, change))
            if m.path == path and m.kind in CONTENT_MOUNTS
            else m
            for m in self.mounts
        )
        return replace(self, mounts=tuple(mounts))


@dataclass(frozen=True, kw_only=True)
class Directory:
    """A directory: a place in a tree or in a container; links may lead out of it."""

    tree: Tree | None = None
    container: Container | None = None
    path: str = "/"

    def absolute(self, path: str) -> str:
        """Return a path below the directory as one in its tree or container.

        A slash at the end stays: it says that the path is a directory.
        """
        joined = normpath(join("/", self.path, path.lstrip("/"))).replace("//", "/")
        return joined.rstrip("/") + "/" if path.endswith(("/", "/.")) else joined


@dataclass(frozen=True, kw_only=True)
class File:
    """One file and its name."""

    name: str
    entry: Entry
    directory: Directory | None = None  # that it is in, whose tables name an owner


def read_once(source: TreeSource) -> TreeSource:
    """Return a source that reads its tree at the first use and keeps it."""
    found: list[Tree] = []

    async def read() -> Tree:
        if not found:
            found.append(await source())
        return found[0]

    return read


@dataclass(frozen=True, kw_only=True)
class Secret:
    """A value that is never shown; read when it is needed."""

    name: str
    uri: str
    cache_key: str | None = None  # in keys, in place of the value
    reveal: Callable[[], Awaitable[bytes]] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class CacheVolume:
    """A volume that outlives sessions."""

    name: str
    source: TreeSource | None = None
    sharing: str = "SHARED"
    owner: str = ""


@dataclass(frozen=True, kw_only=True)
class Service:
    """A container whose process serves others."""

    container: Container
    args: tuple[str, ...]
    hostname: str = ""


@dataclass(frozen=True, kw_only=True)
class PortForward:
    """Ports forwarded from containers to this host, or from this host to a service."""

    ports: tuple[tuple[int, int], ...]  # frontend (0: any free port), backend
    host: str = ""  # the target; empty: the service
    service: Service | None = None
    hostname: str = "localhost"


def with_pair(
    pairs: tuple[tuple[str, T], ...], name: str, value: T | None
) -> tuple[tuple[str, T], ...]:
    """Return pairs with one value set, in its place if it exists, or removed if it is None."""
    items = dict(pairs)
    if value is None:
        items.pop(name, None)
    else:
        items[name] = value
    return tuple(items.items())


def visible(mounts: tuple[Mount, ...]) -> tuple[Mount, ...]:
    """Return the mounts that a command sees: a secret hides another one at its path."""
    secrets = {mount.path for mount in mounts if mount.kind == "secret"}
    return tuple(m for m in mounts if m.kind == "secret" or m.path not in secrets)


def expand_variables(text: str, container: Container) -> str:
    """Return a text with `$NAME` and `${NAME}` replaced; unknown names become empty.

    Raises:
        EngineError: a name is that of a secret or volatile variable, whose value is in no key.
    """
    env, secrets, volatile = map(dict, (container.env, container.secrets, container.volatile))

    def value(hit: re.Match[str]) -> str:
        name = hit[1] or hit[2] or ""
        for kind, hidden in (("secret", secrets), ("volatile", volatile)):
            if name in hidden:
                raise EngineError(f'expand cannot be used with {kind} env variable "{name}"')
        return str(env.get(name, ""))

    return re.sub(r"\$(?:\{([^}]*)\}|(\w+))", value, text)
