"""The one place where this machine's part waits for a condition."""

import time
from collections.abc import Awaitable, Callable

import anyio


async def until(
    condition: Callable[[], Awaitable[bool]], *, seconds: float, every: float = 0.05
) -> bool:
    """Wait until the condition holds; return whether it did in time.

    Args:
        condition: asked again and again; what it raises ends the waiting.
        seconds: the deadline. The condition is asked at least once.
        every: pause between two questions, in seconds.
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
        condition: asked again and again; what it raises ends the waiting.
        seconds: the deadline. The condition is asked at least once.
        every: pause between two questions, in seconds.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every)
    return True
