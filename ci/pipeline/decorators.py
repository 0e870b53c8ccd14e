"""How functions of the module are marked, with the types that the client's decorators lack."""

from collections.abc import Callable
from typing import Any, TypeVar

from dagger import check, function

F = TypeVar("F", bound=Callable[..., Any])


def anew(method: F) -> F:
    """Mark a function that runs at every call; the client's overloads (0.21.8) lack `cache`.

    A Dagger engine keeps a function's result across calls unless told not to: a second deploy
    would not deploy.
    """
    return function(method, cache="never")  # type: ignore[call-overload, no-any-return]


def judges(method: F) -> F:
    """Mark a function that judges the source: `dagger check` runs it."""
    return check(method)  # type: ignore[return-value]


def once(method: F) -> F:
    """Mark a function that runs once in a session."""
    return function(method, cache="session")  # type: ignore[call-overload, no-any-return]
