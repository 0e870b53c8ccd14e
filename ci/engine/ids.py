"""Objects as the chain of calls that made them, and ids that contain that chain.

A call is frozen: its field, its arguments and its parent. Its id is the chain itself, each call
once, so an id stays valid after the query, the session and the process. It is packed in a message
that Dagger's Go client can read.
"""

import base64
import binascii
import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ci.engine import dagql_id
from ci.engine.errors import EngineError


@dataclass(frozen=True, slots=True)
class Call:
    """One field of one object; arguments are plain JSON values and other calls."""

    type: str  # of the object that it returns
    field: str
    parent: "Call | None" = None
    args: tuple[tuple[str, Any], ...] = ()
    digest: str = ""

    def __post_init__(self) -> None:
        text = json.dumps(_row(self, lambda call: call.digest), sort_keys=True)
        object.__setattr__(self, "digest", hashlib.sha256(text.encode()).hexdigest())

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Call) and other.digest == self.digest


def encode(call: Call) -> str:
    """Return the id of an object."""
    places: dict[str, int] = {}
    rows: list[Any] = []
    for each in _parts_first(call):
        places[each.digest] = len(rows)
        rows.append(_row(each, lambda part: places[part.digest]))
    packed = zlib.compress(json.dumps(rows, separators=(",", ":")).encode(), 6)
    text = base64.b85encode(packed).decode()
    return base64.b64encode(dagql_id.wrap(text, kind=call.type, digest=call.digest)).decode()


@lru_cache(maxsize=10_000)
def decode(text: str) -> Call:
    """Return the object of an id; raises `EngineError` if it is not an id of this engine."""
    calls: list[Call] = []
    try:
        packed = base64.b85decode(dagql_id.unwrap(base64.b64decode(text, validate=True)))
        for kind, name, parent, args in json.loads(zlib.decompress(packed)):
            calls.append(
                Call(
                    kind,
                    name,
                    None if parent is None else calls[parent],
                    tuple((key, _unpacked(value, calls)) for key, value in args),
                )
            )
        return calls[-1]
    except (binascii.Error, zlib.error, ValueError, TypeError, IndexError) as error:
        raise EngineError(f"{text[:40]!r} is not an id of this engine") from error


def _row(call: Call, place: Any) -> list[Any]:
    parent = None if call.parent is None else place(call.parent)
    return [call.type, call.field, parent, [[k, _packed(v, place)] for k, v in call.args]]


def _packed(value: Any, place: Any) -> Any:
    match value:
        case Call():
            return {"$": place(value)}
        case list() | tuple():
            return [_packed(item, place) for item in value]
        case dict():
            return {"=": [[key, _packed(item, place)] for key, item in value.items()]}
    return value


def _unpacked(value: Any, calls: list[Call]) -> Any:
    match value:
        case {"$": place}:
            return calls[place]
        case {"=": items}:
            return {key: _unpacked(item, calls) for key, item in items}
        case list():
            return [_unpacked(item, calls) for item in value]
    return value


def _parts_first(call: Call) -> Iterator[Call]:
    """Yield every call of the chain once, parents and arguments before the calls that use them."""
    seen: set[str] = set()
    stack = [(call, False)]
    while stack:
        each, ready = stack.pop()
        if ready:
            yield each
        elif each.digest not in seen:
            seen.add(each.digest)
            stack.append((each, True))
            stack.extend((part, False) for part in _parts(each) if part.digest not in seen)


def _parts(call: Call) -> list[Call]:
    found: list[Call] = []
    _row(call, found.append)
    return found
