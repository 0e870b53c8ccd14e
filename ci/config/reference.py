"""The table of all settings in docs/configuration.md, made from the configuration's own types.

`python -m ci.config.reference docs/configuration.md` writes it; a test compares it.
"""

import dataclasses
import sys
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any

from ci.config.agents import Agent
from ci.config.environments import Environment
from ci.config.model import Project
from ci.config.settings import About

BEGIN, END = "<!-- settings -->\n", "<!-- end of settings -->\n"
TYPES: Mapping[object, str] = {int: "number", str: "text", bool: "true or false"}
#: What a change of a setting does, by `About.effect`.
EFFECTS: Mapping[str, str] = {
    "": "-",
    "tasks": "new tasks replace the running ones",
    "service": "the service is updated; its tasks stay",
    "stack": "infrastructure; tasks stay",
}
#: What the tables of a setting are named by.
KEYS: Mapping[str, str] = {"agents": "AGENT", "exceptions": '"CHECK"'}
TABLES: Mapping[str, type] = {
    "project": Project,
    "agents.AGENT": Agent,
    "environments.ENV": Environment,
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting: the table that it is in, its name, type, default, unit and meaning."""

    table: str
    name: str
    kind: str
    default: str
    about: About


def settings() -> list[Setting]:
    """Return every setting, in the order of the types."""
    return [item for table, cls in TABLES.items() for item in _of(table, cls)]


def table() -> str:
    """Return the settings as Markdown: a table for each table of acso.toml."""
    parts: dict[str, list[Setting]] = {}
    for item in settings():
        parts.setdefault(item.table, []).append(item)
    return "\n".join(_part(name, items) for name, items in parts.items())


def document(text: str) -> str:
    """Return a document with the table between its markers replaced."""
    head, _, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


def _of(table: str, cls: type) -> Iterator[Setting]:
    plain = typing.get_type_hints(cls)
    described = typing.get_type_hints(cls, include_extras=True)
    nested = []
    for field in dataclasses.fields(typing.cast("Any", cls)):
        kind = _inner(plain[field.name])
        if dataclasses.is_dataclass(kind):
            nested.append((f"{table}.{field.name}", typing.cast("type", kind)))
            continue
        if typing.get_origin(kind) is Mapping and dataclasses.is_dataclass(
            typing.get_args(kind)[1]
        ):
            key = KEYS[field.name]
            nested.append((f"{table}.{field.name}.{key}", typing.get_args(kind)[1]))
            continue
        if field.name == "name" and table != "project":
            continue  # the table's own name
        yield Setting(
            table=table,
            name=field.name,
            kind=_name(kind),
            default=_default(field),
            about=_about(described[field.name]),
        )
    for name, inner in nested:
        yield from _of(name, inner)


def _inner(kind: Any) -> Any:
    """Return X of `X | None`."""
    if isinstance(kind, UnionType):
        return next(item for item in typing.get_args(kind) if item is not type(None))
    return kind


def _about(kind: Any) -> About:
    found = next((item for item in typing.get_args(kind) if isinstance(item, About)), None)
    if found is None:
        message = f"a setting of type {kind} has no meaning"
        raise TypeError(message)
    return found


def _name(kind: Any) -> str:
    if typing.get_origin(kind) is tuple:
        return "list of texts"
    return "table of texts" if typing.get_origin(kind) is Mapping else TYPES[kind]


def _default(field: "dataclasses.Field[Any]") -> str:
    if field.default_factory is not dataclasses.MISSING:
        return "none"
    if field.default is dataclasses.MISSING:
        return "required"
    if field.default is None or field.default == ():
        return "none"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    value = field.default
    return ", ".join(f"`{item}`" for item in (value if isinstance(value, tuple) else (value,)))


def _part(name: str, items: list[Setting]) -> str:
    lines = [
        f"### `[{name}]`\n",
        "| setting | type | default | unit | meaning | a change |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{item.name}` | {item.kind} | {item.default} | {item.about.unit or '-'} | "
        f"{item.about.meaning} | {EFFECTS[item.about.effect]} |"
        for item in items
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(document(path.read_text(encoding="utf-8")), encoding="utf-8")
