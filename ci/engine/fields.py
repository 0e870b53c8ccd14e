"""The table of fields that this engine answers; modules named `fields_*` fill it.

A field that returns an object is asked when something needs the object, any other one at once.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ci.engine.errors import UnsupportedError
from ci.engine.ids import Call

FIELDS: dict[str, Callable[..., Awaitable[Any]]] = {}
#: Arguments that are in the API and only have one value here, by that value.
REFUSED: dict[str, dict[str, Any]] = {}

F = TypeVar("F", bound=Callable[..., Any])


def field(*names: str, **only: Any) -> Callable[[F], F]:
    """Register a resolver for fields such as `Container.withExec`.

    Args:
        names: the fields.
        only: arguments that must have this value; others are refused as not supported.
    """

    def register(function: F) -> F:
        for name in names:
            FIELDS[name] = function
            REFUSED[name] = only
        return function

    return register


def accepted(name: str, args: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that a resolver takes; raises `UnsupportedError` for others."""
    for argument, value in REFUSED[name].items():
        if args.get(argument, value) not in (value, None, []):
            raise UnsupportedError(f"argument {argument} of {name}")
    return {key: value for key, value in args.items() if key not in REFUSED[name]}


def value_call(kind: str, **args: Any) -> Call:
    """Return an object that is nothing but plain data, such as a label."""
    return Call(kind, VALUE, None, tuple(sorted(args.items())))


#: The field behind such objects; no client can ask for it.
VALUE = "@value"
