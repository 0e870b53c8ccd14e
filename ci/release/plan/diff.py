"""Differences between two services, for people: changed paths, or a unified diff; secrets masked.

Both sides are canonical texts (`ci.aws.canonical`), so only real differences are shown.
"""

import difflib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any

from ci.config import SECRET_VALUE

CONTEXT = 2  # lines around a change
MASK = "***"
#: Names of entries (environment, log options, labels) whose values are masked.
SECRET_NAME = re.compile(
    r"(passw(or)?d|passphrase|secret|token|credential|api_?key|access_?key|private_?key|dsn)",
    re.IGNORECASE,
)
#: Mappings whose keys are chosen by the user, so that a key describes its value.
NAMED = frozenset({"environment", "options", "dockerLabels"})
#: The part of a path that is the same for every agent.
NOISE = re.compile(r"^containerDefinitions\.[^.]+\.")


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Two documents to compare: lists of named items as mappings by name, secrets masked."""

    old: Mapping[str, Any]
    new: Mapping[str, Any]

    def paths(self) -> Iterator[str]:
        """Yield each path at which they differ, with the old and the new value, shortened."""
        before, after = _flat(self.old), _flat(self.new)
        for path in sorted(before.keys() | after.keys()):
            if before.get(path) != after.get(path):
                yield _line(NOISE.sub("", path), before.get(path), after.get(path))

    def unified(self) -> tuple[str, ...]:
        """Return the lines of a unified diff, without file names; empty if they are equal."""
        old, new = _lines(self.old), _lines(self.new)
        return tuple(difflib.unified_diff(old, new, lineterm="", n=CONTEXT))[2:]


def sides(old: str, new: str, secrets: Collection[str] = ()) -> Sides:
    """Return two canonical texts as comparable documents, secrets masked.

    Args:
        old: the current text; `{}` for nothing.
        new: the desired text.
        secrets: known secrets; a value that contains one of them is masked.

    A secret that differs is still shown as a difference: `*** (old)` and `*** (new)`.
    """
    before, after = _named(json.loads(old)), _named(json.loads(new))
    known = tuple(secret for secret in secrets if secret)
    return Sides(
        old=_Mask(side="old", known=known).of(before, after),
        new=_Mask(side="new", known=known).of(after, before),
    )


def is_secret(name: str, value: str, known: Collection[str] = ()) -> bool:
    """Return whether a value must be masked, by its name or by itself; pure."""
    return bool(
        SECRET_NAME.search(name)
        or SECRET_VALUE.search(value)
        or any(secret in value for secret in known)
    )


def _named(value: Any) -> Any:
    """Turn lists of items with a `name` into mappings, recursively."""
    if isinstance(value, Mapping):
        return {key: _named(item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    names = [item.get("name") for item in value if isinstance(item, Mapping)]
    if not names or None in names or len({*names}) < len(value):
        return [_named(item) for item in value]
    return {str(item["name"]): _named(_nameless(item)) for item in value}


def _nameless(item: Mapping[str, Any]) -> Any:
    rest = {key: value for key, value in item.items() if key != "name"}
    return rest.get("value", "") if set(rest) <= {"value"} else rest


@dataclass(frozen=True, kw_only=True)
class _Mask:
    """Masks the secrets of one side; marks those that differ from the other side."""

    side: str
    known: tuple[str, ...]

    def of(self, value: Any, opposite: Any, name: str = "", *, named: bool = False) -> Any:
        """Return a value with every secret in it masked.

        Args:
            value: a document or a part of one.
            opposite: the value at the same place on the other side.
            name: the name that the user gave it, if any.
            named: whether its keys are names that the user chose.
        """
        if isinstance(value, Mapping):
            facing = opposite if isinstance(opposite, Mapping) else {}
            return {
                key: self.of(item, facing.get(key), _name(value, key, named), named=key in NAMED)
                for key, item in value.items()
            }
        if isinstance(value, list):
            pairs = zip_longest(value, opposite if isinstance(opposite, list) else ())
            return [self.of(item, facing, name) for item, facing in islice(pairs, len(value))]
        if not isinstance(value, str) or not is_secret(name, value, self.known):
            return value
        return MASK if value == opposite else f"{MASK} ({self.side})"


def _name(parent: Mapping[str, Any], key: str, named: bool) -> str:
    """Return the user's name of an item: its key, or the `name` beside its `value`."""
    if key == "value":
        return str(parent.get("name", key))
    return key if named else ""


def _lines(document: Mapping[str, Any]) -> list[str]:
    return json.dumps(document, indent=2, sort_keys=True).splitlines() if document else []


def _line(path: str, old: object, new: object) -> str:
    if old is None:
        return f"{path} added"
    if new is None:
        return f"{path} removed"
    return f"{path} {_short(old)} -> {_short(new)}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:39] + "…"


def _flat(value: Any, path: str = "") -> dict[str, object]:
    """Return a document's leaves by path."""
    items: list[tuple[str, Any]]
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list):
        items = [(str(number), item) for number, item in enumerate(value)]
    else:
        return {path: value}
    found: dict[str, object] = {}
    for key, item in items:
        found |= _flat(item, f"{path}.{key}" if path else key)
    return found
