"""Decorators for functions of the module: how results are cached, and how errors are reported.

The overloads of the client's own decorators (0.21.8) lack `cache` and the type of `check`.
"""

import re
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

import dagger
from dagger.mod._exceptions import FunctionError  # raised, it suppresses the SDK's long traceback

from ci.common.concurrency import first, first_of
from ci.errors import AcsoError

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Method = Callable[P, Coroutine[Any, Any, T]]

#: Commands of `acso` that are functions of the module, so commands of `dagger call` too.
_names: set[str] = set()
_raise_as_is: ContextVar[bool] = ContextVar("raise_as_is", default=False)


@contextmanager
def in_process() -> Iterator[None]:
    """Let errors leave functions as they are, for a caller that reports them itself (`acso`)."""
    token = _raise_as_is.set(True)
    try:
        yield
    finally:
        _raise_as_is.reset(token)


def cached(method: Method[P, T]) -> Method[P, T]:
    """Cache the function's result by its arguments, as a Dagger engine does by default."""
    return dagger.function(_reporting(method))


def cached_per_session(method: Method[P, T]) -> Method[P, T]:
    """Cache the function's result for one session."""
    return _function(_reporting(method), cache="session")


def uncached(method: Method[P, T]) -> Method[P, T]:
    """Run the function at every call.

    By default a Dagger engine caches a function's result across calls: a second `deploy` with the
    same arguments would do nothing.
    """
    return _function(_reporting(method), cache="never")


def source_check(method: F) -> F:
    """Make the function one of the checks that `dagger check` runs."""
    return dagger.check(method)  # type: ignore[return-value]


def _function(method: Method[P, T], *, cache: str) -> Method[P, T]:
    return dagger.function(method, cache=cache)  # type: ignore[call-overload, no-any-return]


def _reporting(method: Method[P, T]) -> Method[P, T]:
    """Report an `AcsoError` as itself, with its hint, where `dagger call` shows only the message.

    Task groups raise `ExceptionGroup`, of which `dagger call` shows "unhandled errors in a
    TaskGroup" and nothing of what happened.
    """
    _names.add(method.__name__.replace("_", "-"))

    @wraps(method)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        if _raise_as_is.get():
            return await method(*args, **kwargs)
        with in_process():  # functions that this one calls are not the outermost
            try:
                result = await method(*args, **kwargs)
            except (AcsoError, ExceptionGroup) as error:
                raise _reported(error) from None
        return cast("T", _for_dagger_call(result)) if isinstance(result, str) else result

    return call


def _reported(error: AcsoError | ExceptionGroup[Exception]) -> Exception:
    found = first_of(error, AcsoError) or first_of(error, dagger.QueryError)
    if isinstance(found, AcsoError):
        text = f"{found}\n  next: {found.hint}" if found.hint else str(found)
        return FunctionError(_for_dagger_call(text))
    return found or first(error)


def _for_dagger_call(text: str) -> str:
    """Return a text whose commands and flags are those of `dagger call`, as far as it has them."""

    def command(found: re.Match[str]) -> str:
        return f"dagger call {found[1]}" if found[1] in _names else found[0]

    text = re.sub(r"(?<![\w/.])(?:\./)?acso ([a-z-]+)", command, text)
    text = text.replace("--output plan.json", "--format json --output plan.json")
    return text.replace("--aws local", "--endpoint URL of another AWS")
