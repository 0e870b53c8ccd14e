"""Read tables of TOML as frozen dataclasses; errors name the key."""

import dataclasses
import difflib
import typing
from collections.abc import Mapping, Sequence
from types import MappingProxyType, UnionType

#: Keys that acso.toml had once, and what to do instead.
REMOVED = MappingProxyType(
    {
        "approvals": "removed; add required reviewers to the GitHub environment of the same name "
        "(docs/aws.md)"
    }
)


class BadKeyError(Exception):
    """What is wrong with one key; `parse` adds the file."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")


def table(data: dict[str, typing.Any], key: str, prefix: str = "") -> dict[str, typing.Any]:
    """Return the table under a key; raises `BadKeyError`."""
    value = data.get(key)
    if value is None:
        raise BadKeyError(prefix + key, "missing table")
    if not isinstance(value, dict):
        raise BadKeyError(prefix + key, f"must be a table, not {_name_of(type(value))}")
    return value


def field_names(cls: type) -> set[str]:
    """Return the names of a dataclass's fields: the keys that its table may have."""
    return {item.name for item in dataclasses.fields(cls)}


def known(where: str, data: Mapping[str, object], names: set[str]) -> None:
    """Raise `BadKeyError` for a key that is not one of the names."""
    for key in data:
        if key not in names:
            what = REMOVED.get(key, f"unknown key, {nearest(key, sorted(names))}")
            raise BadKeyError(f"{where}.{key}" if where else key, what)


def nearest(name: str, names: Sequence[str]) -> str:
    """Return the name that was probably meant, else all that there are."""
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"


T = typing.TypeVar("T")


def build(cls: type[T], where: str, data: dict[str, typing.Any]) -> T:
    """Return a dataclass made from a table; raises `BadKeyError`."""
    known(where, data, field_names(cls))
    types = typing.get_type_hints(cls)
    values: dict[str, typing.Any] = {}
    for item in dataclasses.fields(typing.cast("typing.Any", cls)):
        key = f"{where}.{item.name}"
        if item.name in data:
            values[item.name] = _value(types[item.name], key, data[item.name])
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise BadKeyError(key, f"missing value ({_name_of(types[item.name])})")
    return cls(**values)


def _value(kind: typing.Any, key: str, value: typing.Any) -> typing.Any:
    if isinstance(kind, UnionType):  # `X | None`: absent, or an X
        kind = next(item for item in typing.get_args(kind) if item is not type(None))
    if kind in (bool, int, str) and type(value) is kind:
        return value
    if typing.get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_value(str, f"{key}[{n}]", item) for n, item in enumerate(value))
    if typing.get_origin(kind) is Mapping and isinstance(value, dict):
        _, item = typing.get_args(kind)
        return MappingProxyType(
            {name: build(item, f"{key}.{name}", table(value, name, f"{key}.")) for name in value}
        )
    raise BadKeyError(key, f"must be {_name_of(kind)}, not {_name_of(type(value))}")


def _name_of(kind: typing.Any) -> str:
    names = {int: "a whole number", str: "a text", bool: "true or false", dict: "a table"}
    if isinstance(kind, UnionType):
        kind = typing.get_args(kind)[0]
    if kind in names:
        return names[kind]
    return "a list of texts" if typing.get_origin(kind) is tuple else "a " + str(kind.__name__)
