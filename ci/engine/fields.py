"""The table of resolvers: one for each field of the API; the modules of `ci.engine.api` fill it.

A resolver gets the engine, the object and the arguments; it is a function or a coroutine. A field
that returns an object is resolved when something needs that object.
"""

from collections.abc import Callable
from typing import Any

from ci.engine.errors import UnsupportedError
from ci.engine.ids import Call


class Args(dict[str, Any]):
    """Arguments by their names in the API; a missing one is None."""

    def __getattr__(self, name: str) -> Any:
        return self.get(name)


Resolver = Callable[[Any, Any, Args], Any]
#: By `Type.field`; `@value` is the field behind objects of plain data and has no name in the API.
FIELDS: dict[str, Resolver] = {"Query.@value": lambda _e, _q, args: args}
#: Types whose objects are plain data.
DATA_TYPES = ("EnvVariable", "HealthcheckConfig", "Label", "Port", "Stat")
#: Arguments that this engine accepts with one value only.
FIXED: dict[str, dict[str, Any]] = {}


def register(kind: str, resolvers: dict[str, Resolver], **fixed: dict[str, Any]) -> None:
    """Add fields of a type to the table; `fixed` names the only accepted value of arguments."""
    FIELDS.update({f"{kind}.{name}": resolver for name, resolver in resolvers.items()})
    FIXED.update({f"{kind}.{name}": values for name, values in fixed.items()})


def resolver(kind: str, field: str) -> Resolver | None:
    """Return the resolver of a field, None where this engine has none."""
    if kind in DATA_TYPES:
        return lambda _engine, facts, _args: facts.get(field)
    return FIELDS.get(f"{kind}.{field}")


def checked_arguments(name: str, args: dict[str, Any]) -> Args:
    """Return the arguments of a field; raises `UnsupportedError` for a value not accepted."""
    for argument, value in FIXED.get(name, {}).items():
        if args.get(argument) not in (value, None, []):
            raise UnsupportedError(f"{name}({argument})")
    return Args({key: value for key, value in args.items() if value is not None})


def plain_object(kind: str, **facts: Any) -> Call:
    """Return an object of plain data, such as a label."""
    return Call(kind, "@value", None, tuple(sorted(facts.items())))
