"""What the fields of the API are answered with: the table that `api_*` modules fill.

A resolver gets the engine, the object asked and the arguments; it may be a plain function or a
coroutine. A field that returns an object is resolved when something needs that object.
"""

from collections.abc import Callable
from typing import Any

from ci.engine.errors import UnsupportedError
from ci.engine.ids import Call


class Args(dict[str, Any]):
    """Arguments by their names in the API; those not given are None."""

    def __getattr__(self, name: str) -> Any:
        return self.get(name)


Resolver = Callable[[Any, Any, Args], Any]
#: By `Type.field`; `@value` is the field behind objects of plain data, which no client can ask.
FIELDS: dict[str, Resolver] = {"Query.@value": lambda _e, _q, args: args}
#: Types whose objects are nothing but data: every field of theirs is a fact.
DATA = ("EnvVariable", "HealthcheckConfig", "Label", "Port", "Stat")
#: Arguments that can have one value only.
FIXED: dict[str, dict[str, Any]] = {}


def answers(kind: str, resolvers: dict[str, Resolver], **fixed: dict[str, Any]) -> None:
    """Add fields of a type to the table; `fixed` gives arguments that have one value here."""
    FIELDS.update({f"{kind}.{name}": resolver for name, resolver in resolvers.items()})
    FIXED.update({f"{kind}.{name}": values for name, values in fixed.items()})


def resolver(kind: str, field: str) -> Resolver | None:
    """Return what answers a field, None for one that is not there."""
    if kind in DATA:
        return lambda _engine, facts, _args: facts.get(field)
    return FIELDS.get(f"{kind}.{field}")


def accepted(name: str, args: dict[str, Any]) -> Args:
    """Return the arguments of a field; raises `UnsupportedError` for one with another value."""
    for argument, value in FIXED.get(name, {}).items():
        if args.get(argument) not in (value, None, []):
            raise UnsupportedError(f"{name}({argument})")
    return Args({key: value for key, value in args.items() if value is not None})


def plain(kind: str, **facts: Any) -> Call:
    """Return an object that is nothing but data, such as a label."""
    return Call(kind, "@value", None, tuple(sorted(facts.items())))
