"""Decorators for functions of the module: the client's, with the types that they lack (0.21.8)."""

from collections.abc import Callable
from typing import Any, TypeVar

from dagger import check, function

F = TypeVar("F", bound=Callable[..., Any])


def uncached(method: F) -> F:
    """Run the function at every call.

    By default a Dagger engine caches a function's result across calls: a second `deploy` with the
    same arguments would do nothing.
    """
    return function(method, cache="never")  # type: ignore[call-overload, no-any-return]


def source_check(method: F) -> F:
    """Make the function one of the checks that `dagger check` runs."""
    return check(method)  # type: ignore[return-value]


def cached_per_session(method: F) -> F:
    """Cache the function's result for one session."""
    return function(method, cache="session")  # type: ignore[call-overload, no-any-return]
