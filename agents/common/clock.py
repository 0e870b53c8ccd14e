"""The time, as a value that tests can set."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Protocol

from pydantic import AwareDatetime, BeforeValidator


def _text(value: object) -> object:
    if isinstance(value, int | float):
        # Pydantic makes an answer of a ValueError, and not of a TypeError.
        raise ValueError("a time is a text, such as 2026-11-24T12:00:00Z")  # noqa: TRY004
    return value


#: A time with its zone, as a text: pydantic would take numbers too, which OpenAPI does not allow.
Time = Annotated[AwareDatetime, BeforeValidator(_text)]


class Clock(Protocol):
    """What tells the time and waits."""

    def now(self) -> datetime:
        """Return the time, in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
