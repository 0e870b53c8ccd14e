"""Running several things at once; the first failure is raised as itself, not in a group."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio

A = TypeVar("A")
T = TypeVar("T")
E = TypeVar("E", bound=BaseException)


async def parallel(work: Callable[[A], Awaitable[T]], items: Iterable[A]) -> list[T]:
    """Call a function on all items at once and return the results in order.

    The first failure cancels the others and is raised as itself, not in an `ExceptionGroup`.
    """
    wanted = list(items)
    results: dict[int, T] = {}

    async def one(number: int, item: A) -> None:
        results[number] = await work(item)

    try:
        async with anyio.create_task_group() as group:
            for number, item in enumerate(wanted):
                group.start_soon(one, number, item)
    except ExceptionGroup as errors:
        raise first(errors) from errors
    return [results[number] for number in range(len(wanted))]


async def until(work: Callable[[], Awaitable[T]], end: Callable[[], Awaitable[None]]) -> T | None:
    """Call a function and return its result; cancel it and return None if `end` returns first.

    A function that still returns while it is being cancelled has succeeded: its result counts.
    """
    results: list[T] = []
    try:
        async with anyio.create_task_group() as group:

            async def stop() -> None:
                await end()
                group.cancel_scope.cancel()

            group.start_soon(stop)
            results.append(await work())
            group.cancel_scope.cancel()
    except ExceptionGroup as errors:
        raise first(errors) from errors
    return results[0] if results else None


def first_of(error: BaseException, kind: type[E]) -> E | None:
    """Return the error itself or the first one in its group that is of a kind; None if none is."""
    if isinstance(error, kind):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, (first_of(item, kind) for item in error.exceptions)), None)
    return None


def first(error: Exception) -> Exception:
    """Return the error itself, or the first one in its group that is not a group."""
    return first(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error
