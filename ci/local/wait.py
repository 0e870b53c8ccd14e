"""Wait for conditions, in asynchronous code and in threads."""

import time
from collections.abc import Awaitable, Callable

import anyio


async def until(
    condition: Callable[[], Awaitable[bool]], *, seconds: float, every: float = 0.05
) -> bool:
    """Wait until the condition holds; return whether it did in time.

    Args:
        condition: checked repeatedly, at least once; an exception of it ends the wait.
        seconds: the deadline.
        every: seconds between two checks.
    """
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() >= deadline:
            return False
        await anyio.sleep(every)
    return True


def blocking(condition: Callable[[], bool], *, seconds: float, every: float = 0.05) -> bool:
    """Wait in a thread until the condition holds; return whether it did in time.

    Args:
        condition: checked repeatedly, at least once; an exception of it ends the wait.
        seconds: the deadline.
        every: seconds between two checks.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every)
    return True
