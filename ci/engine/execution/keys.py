"""Cache keys, derived from the fields of the values themselves.

Every field of a value is part of its key unless a table below excludes it by name, with the
reason. A new field therefore changes keys until somebody decides otherwise, and a field of a type
that has no rule is an error, never a wrong cache hit.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from ci.engine.execution.commands import Command
from ci.engine.execution.resources import Evaluate
from ci.engine.ids import Call
from ci.engine.store.cache import Store, key_of
from ci.engine.values import (
    Container,
    Edit,
    Exec,
    Files,
    Image,
    Mount,
    Port,
    PortForward,
    Secret,
    Service,
)

T = TypeVar("T")
#: By type: the fields that are part of no key, and why.
Exclusions = Mapping[type, Mapping[str, str]]

_CONTAINER = {
    "image_ref": "the name of an image whose files are in the key",
    "image_config": "a process does not see it",
    "args_set": "the command has its own arguments",
    "entrypoint": "the arguments of the command include it",
    "args": "the command has its own arguments",
    "labels": "a process does not see them",
    "auth": "only pull and push use it",
    "annotations": "only manifests of images hold them",
    "volatile": "by definition their values are in no key; their names are",
    "last_exec": "part of the files",
}
#: What a command does not see of its container.
EXEC: Exclusions = {
    Container: {
        **_CONTAINER,
        "ports": "only services listen",
        "healthcheck": "only services are checked",
    },
}
#: What neither a service nor its clients see.
SERVICE: Exclusions = {Container: _CONTAINER, Port: {"description": "only shown to people"}}
#: What a running container does not fix: the next command may differ in it and still run there.
SHAPE: Exclusions = {
    Command: dict.fromkeys(
        ("key", "args", "env", "user", "workdir", "stdin", "hidden"), "each command has its own"
    ),
    Mount: dict.fromkeys(
        ("source", "edits", "after"),
        "the content is compared by key: it is what the command before left",
    ),
}


class Keys:
    """Keys of one session."""

    def __init__(self, store: Store, evaluate: Evaluate) -> None:
        self._store = store
        self._evaluate = evaluate
        self._known: dict[Files, str] = {}

    async def of(self, files: Files) -> str:
        """Return the key of a container's files."""
        for each in unknown(files, _below, self._known):
            self._known[each] = key_of(*await self._files(each))
        return self._known[files]

    async def of_service(self, service: Service | PortForward) -> str:
        """Return the key of what runs as a service and of what its clients see of it."""
        kind = "service" if isinstance(service, Service) else "port forward"
        return key_of(kind, await self._fields(service, SERVICE))

    async def shape(self, command: Command) -> str:
        """Return the key of what a command's container fixes when it is created."""
        return key_of("shape", await self._fields(command, SHAPE))

    async def _files(self, files: Files) -> tuple[Any, ...]:
        match files:
            case Image():
                return "image", files.id
            case Edit():
                return "edit", await self._fields(files, {})
            case Exec():
                return "exec", await self._fields(files, EXEC)

    async def _fields(self, value: Any, excluded: Exclusions) -> dict[str, Any]:
        """Return what stands for each field of a dataclass that is not excluded."""
        left_out = set(excluded.get(type(value), ()))
        if isinstance(value, Mount) and value.after is not None:
            left_out.add("source")  # the content that the command in `after` started with
        names = [field.name for field in fields(value) if field.name not in left_out]
        found = {name: await self._part(getattr(value, name), excluded) for name in names}
        if isinstance(value, Container) and value.volatile:
            found["volatile"] = sorted(name for name, _ in value.volatile)
        return found

    async def _part(self, part: Any, excluded: Exclusions) -> Any:  # noqa: PLR0911 (one a type)
        match part:
            case None | bool() | int() | str():
                return part
            case Image() | Edit() | Exec():
                return await self.of(part)
            case Call():
                return await self._object(await self._evaluate(part))
            case tuple() | list():
                return [await self._part(each, excluded) for each in part]
            case dict():
                return [[key, await self._part(each, excluded)] for key, each in part.items()]
            case _ if callable(part):  # the source of a tree
                return (await part()).key
            case _ if is_dataclass(part):
                return await self._fields(part, excluded)
        raise TypeError(f"{type(part).__name__}: no rule says how it becomes part of a cache key")

    async def _object(self, value: Any) -> str:
        match value:
            case Secret(cache_key=str(chosen)):
                return key_of(chosen)
            case Secret():
                return self._store.hash_secret(await value.reveal())
            case Service() | PortForward():
                return await self.of_service(value)
        raise TypeError(f"{type(value).__name__}: no rule says how it becomes part of a cache key")


def unknown(at: T | None, below: Callable[[T], T | None], known: Mapping[T, Any]) -> list[T]:
    """Return the links of a chain that are not known, the lowest first."""
    found = []
    while at is not None and at not in known:
        found.append(at)
        at = below(at)
    return found[::-1]


def _below(files: Files) -> Files | None:
    match files:
        case Edit():
            return files.below
        case Exec():
            return files.before.files
    return None
