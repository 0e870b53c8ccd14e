"""Drills: work that is done only to see that it is done, and leaves nothing behind.

A request with the header `X-Acso-Drill` is one. What it stores is marked, expires within an hour
whatever its kind, and can be removed at once (`DELETE /drills/{id}`). Work that follows from a
drill, also in other agents, is part of it.
"""

from contextvars import ContextVar
from datetime import timedelta
from typing import TypeVar

from pydantic import BaseModel

HEADER = "X-Acso-Drill"
#: The form of a drill's id.
PATTERN = "[a-z0-9][a-z0-9-]{0,63}"
#: How long what a drill stores is kept, if nobody removes it before.
LIFETIME = timedelta(hours=1)
#: The field of a stored document that names its drill.
FIELD = "drill"
#: The drill that the current request or work belongs to; empty: it is real.
current: ContextVar[str] = ContextVar("drill", default="")

Value = TypeVar("Value", bound=BaseModel)


def marked(value: Value) -> Value:
    """Return a new document, marked if the current work is a drill."""
    name = current.get()
    return value.model_copy(update={FIELD: name}) if name else value


def of(value: BaseModel) -> str:
    """Return the drill that a stored document belongs to; empty: it is real."""
    return str((value.model_extra or {}).get(FIELD, ""))


def lifetime(value: BaseModel, usual: timedelta | None) -> timedelta | None:
    """Return how long a document is kept after its last change."""
    if not of(value):
        return usual
    return LIFETIME if usual is None else min(usual, LIFETIME)
