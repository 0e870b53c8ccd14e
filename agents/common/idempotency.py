"""Requests that have the same effect once or many times, by the header `Idempotency-Key`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Header
from pydantic import BaseModel

from agents.common.clock import Clock
from agents.common.errors import ProblemError
from agents.common.store.state import (
    Collection,
    ConflictError,
    Document,
    Stored,
    Table,
    Value,
    Write,
    digest,
)

#: How long a key is known. Later it may be used again.
LIFETIME = timedelta(hours=24)

Key = Annotated[
    str | None, Header(alias="Idempotency-Key", min_length=1, max_length=128, pattern="^[!-~]+$")
]


def again(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Return, for OpenAPI, that a repeated request is answered with 200 and what exists."""
    return {200: {"model": model, "description": "It exists already."}}


class Record(Stored):
    """What a key was used for: a hash of the request, and the id of its result."""

    fingerprint: str
    result: str


@dataclass(frozen=True, kw_only=True)
class Keyed:
    """A request with a key; None: it has no key, and each repetition counts."""

    caller: str
    operation: str
    key: str | None
    content: str  # the request's body, to refuse the key for another request

    @property
    def id(self) -> str:
        """The id of the record: callers cannot see or disturb each other's keys."""
        return digest(self.caller, self.operation, self.key or "")

    @property
    def fingerprint(self) -> str:
        """A hash of the request."""
        return digest(self.content)


async def create_once(
    collection: Collection[Value],
    keyed: Keyed,
    id_: str,
    value: Value,
    *,
    also: Sequence[Write] = (),
) -> tuple[Document[Value], bool]:
    """Create a document unless the key did already; return it, and whether it was created.

    The document, the record of the key and the `also` writes are one transaction.

    Raises:
        ProblemError: 422, the key was used for another request.
        ConflictError: the id is taken, or another writer was first with the `also` writes.
    """
    records = _records(collection.table, collection.clock, collection.agent)
    found = await _known(collection, records, keyed)
    if found is not None:
        return found, False
    writes = [collection.creation(id_, value), *also]
    if keyed.key is not None:
        record = Record(fingerprint=keyed.fingerprint, result=id_)
        writes.append(records.creation(keyed.id, record))
    try:
        await collection.table.write(writes)
    except ConflictError:
        found = await _known(collection, records, keyed)
        if found is None:
            raise
        return found, False
    return Document(id=id_, value=value, version=1), True


async def _known(
    collection: Collection[Value], records: Collection[Record], keyed: Keyed
) -> Document[Value] | None:
    record = await records.get(keyed.id) if keyed.key is not None else None
    if record is None:
        return None
    if record.value.fingerprint != keyed.fingerprint:
        raise ProblemError(422, "this Idempotency-Key was used for another request")
    return await collection.get(record.value.result)


def _records(table: Table, clock: Clock, agent: str) -> Collection[Record]:
    return Collection(
        table=table, clock=clock, agent=agent, kind="key", model=Record, lifetime=LIFETIME
    )
