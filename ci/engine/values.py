"""Containers, files, services and secrets as frozen values.

A container's files are a chain too: an image, edits, commands. Nothing of it runs before a
result is asked for.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from posixpath import join, normpath
from typing import Literal, TypeVar

from ci.engine.healthcheck import Healthcheck
from ci.engine.ids import Call
from ci.engine.store.tree import Entry, Tree

T = TypeVar("T")
#: Kinds of mounts whose content commands change for those after them.
CONTENT = ("directory", "file")
#: Contents that are found out when they are needed.
Lazy = Callable[[], Awaitable[Tree]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Image:
    """Files of an image that Docker has; the empty id is no files at all."""

    id: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Edit:
    """Files laid over or removed."""

    below: "Files"
    path: str
    source: Lazy | None = None  # None: the path is removed
    owner: str = ""
    expect: str = ""  # `f`: a removed path must be a file


@dataclass(frozen=True, eq=False, kw_only=True)
class Ran:
    """What a command left."""

    before: "Container"
    args: tuple[str, ...]
    stdin: str = ""
    redirect: str = ""  # a file of the container that is its standard input
    expect: Literal["SUCCESS", "FAILURE", "ANY"] = "SUCCESS"


Files = Image | Edit | Ran


@dataclass(frozen=True, kw_only=True)
class Mount:
    """Something at a path of a container that is not part of its files."""

    path: str
    kind: Literal["directory", "file", "cache", "secret", "temp"]
    source: Lazy | None = None
    owner: str = ""
    read_only: bool = False
    after: Ran | None = None  # the command whose changes it holds
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
    """All that is known of a container before anything runs."""

    files: Files = field(default_factory=Image)
    platform: str
    image_ref: str = ""
    env: tuple[tuple[str, str], ...] = ()
    user: str = ""
    workdir: str = ""
    entrypoint: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    ports: tuple[Port, ...] = ()
    mounts: tuple[Mount, ...] = ()
    secrets: tuple[tuple[str, Call], ...] = ()
    services: tuple[tuple[str, Call], ...] = ()
    auth: tuple[tuple[str, tuple[str, Call]], ...] = ()  # registry, user name, password
    annotations: tuple[tuple[str, str], ...] = ()
    healthcheck: Healthcheck | None = None
    volatile: tuple[tuple[str, str], ...] = ()  # variables that are in no key
    ran: Ran | None = None  # the last command

    def absolute(self, path: str) -> str:
        """Return a path from the root, relative ones by the working directory."""
        return normpath(join("/", self.workdir, path)).replace("//", "/")

    def covering(self, path: str) -> Mount | None:
        """Return the innermost mount that a path (from the root) lies in."""
        found = [m for m in self.mounts if path == m.path or path.startswith(m.path + "/")]
        return max(found, key=lambda mount: len(mount.path), default=None)

    def without_mount(self, path: str) -> "Container":
        """Return the container with nothing mounted at exactly this path."""
        return replace(self, mounts=tuple(m for m in self.mounts if m.path != path))

    def with_mount(self, mount: Mount) -> "Container":
        """Return the container with a mount; one at the same path gives way."""
        kept = self.without_mount(mount.path)
        return replace(kept, mounts=(*kept.mounts, mount))


@dataclass(frozen=True, kw_only=True)
class Directory:
    """A directory: its tree, or where in a container it is."""

    tree: Tree | None = None
    container: Container | None = None
    path: str = "/"  # in the container
    name: str = "/"


@dataclass(frozen=True, kw_only=True)
class File:
    """One file, with the name under which it was asked for."""

    name: str
    entry: Entry


@dataclass(frozen=True, kw_only=True)
class Secret:
    """A value that is never shown; found when it is needed."""

    name: str
    uri: str
    cache_key: str | None = None  # in keys, in place of the value
    reveal: Callable[[], Awaitable[bytes]] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Cache:
    """A volume that outlives sessions."""

    name: str
    source: Lazy | None = None
    sharing: str = "SHARED"
    owner: str = ""


@dataclass(frozen=True, kw_only=True)
class Service:
    """A container that runs beside others."""

    container: Container
    args: tuple[str, ...]
    hostname: str = ""


@dataclass(frozen=True, kw_only=True)
class Forward:
    """Ports that lead from containers to this host, or from this host to a service."""

    ports: tuple[tuple[int, int], ...]  # where it listens (0: anywhere), where that leads
    host: str = ""  # whose ports they lead to; empty: to the service
    service: Service | None = None
    hostname: str = "localhost"


def assigned(
    pairs: tuple[tuple[str, T], ...], name: str, value: T | None
) -> tuple[tuple[str, T], ...]:
    """Return name-value pairs with one set in its place, or taken out where the value is None."""
    items = dict(pairs)
    if value is None:
        items.pop(name, None)
    else:
        items[name] = value
    return tuple(items.items())


def expanded(text: str, env: dict[str, str]) -> str:
    """Return a text with `$NAME` and `${NAME}` replaced; unknown names become nothing."""
    return re.sub(r"\$(?:\{([^}]*)\}|(\w+))", lambda hit: env.get(hit[1] or hit[2], ""), text)
