"""What agents store: documents in collections, with versions, expiry, paging and transactions.

One table serves all agents. The partition key is `{agent}#{kind}`, the sort key the document's id;
IAM allows each agent to write its own partitions only. A document is JSON with a version: a write
states the version that it replaces, so that of two copies of an agent one is refused. Documents
keep fields that this version of an agent does not know, because the next version may have written
them and read them again.
"""

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from agents.common.clock import Clock
from agents.common.store import drill

#: Attempts of `update` while other copies of the agent change the same document.
ATTEMPTS = 20


class ConflictError(Exception):
    """Another writer was first: nothing was written."""


class StateError(Exception):
    """The table cannot be read or written."""


class Stored(BaseModel):
    """A stored document; fields of a later version are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One item of the table; `data` is JSON, `expires` in seconds since 1970."""

    pk: str
    sk: str
    data: str
    version: int
    expires: int | None = None


@dataclass(frozen=True, kw_only=True)
class Write:
    """One change: it replaces `expected` (0: no row may exist); `data` None deletes the row.

    A new row of a `drill` is listed with it, so that the drill can be removed.
    """

    pk: str
    sk: str
    data: str | None
    expected: int
    expires: int | None = None
    drill: str = ""


class Table(Protocol):
    """A table with a partition key and a sort key; expired rows do not exist for its users."""

    async def get(self, pk: str, sk: str) -> Row | None:
        """Return a row as last written; raises `StateError`."""
        ...

    async def query(
        self, pk: str, *, limit: int, after: str = "", newest: bool = True
    ) -> list[Row]:
        """Return rows of a partition in the order of their sort keys, or the reverse (newest)."""
        ...

    async def write(self, writes: Sequence[Write]) -> None:
        """Make all changes or none; raises `ConflictError` and `StateError`."""
        ...


Value = TypeVar("Value", bound=Stored)
Other = TypeVar("Other", bound=Stored)


@dataclass(frozen=True, kw_only=True)
class Document(Generic[Value]):
    """A stored value, and the version that a change replaces."""

    id: str
    value: Value
    version: int


@dataclass(frozen=True, kw_only=True)
class Page(Generic[Value]):
    """Some documents, and where the next page begins; None: this is the last."""

    items: tuple[Value, ...]
    next: str | None


@dataclass(frozen=True, kw_only=True)
class Collection(Generic[Value]):
    """The documents of one kind; `lifetime` is how long one is kept after its last change."""

    table: Table
    clock: Clock
    agent: str
    kind: str
    model: type[Value]
    lifetime: timedelta | None = None

    @property
    def pk(self) -> str:
        """The partition key of the collection."""
        return f"{self.agent}#{self.kind}"

    async def get(self, id_: str) -> Document[Value] | None:
        """Return a document, None if it does not exist or has expired."""
        row = await self.table.get(self.pk, id_)
        return None if row is None else self._document(row)

    async def page(self, *, limit: int = 50, after: str = "", newest: bool = True) -> Page[Value]:
        """Return a page of documents, by id."""
        rows = await self.table.query(self.pk, limit=limit + 1, after=after, newest=newest)
        items = tuple(self._document(row).value for row in rows[:limit])
        return Page(items=items, next=rows[limit - 1].sk if len(rows) > limit else None)

    async def create(self, id_: str, value: Value) -> Document[Value]:
        """Store a new document; raises `ConflictError` if the id is taken."""
        await self.table.write([self.creation(id_, value)])
        return Document(id=id_, value=value, version=1)

    async def save(self, document: Document[Value], value: Value) -> Document[Value]:
        """Replace a document; raises `ConflictError` if it was changed since it was read."""
        await self.table.write([self.change(document, value)])
        return Document(id=document.id, value=value, version=document.version + 1)

    async def update(self, id_: str, change: Callable[[Value], Value]) -> Document[Value] | None:
        """Change a document, again if another writer was first; None if it does not exist.

        `change` is pure. If it returns its argument, nothing is written. Its exceptions pass.
        """
        for _ in range(ATTEMPTS):
            document = await self.get(id_)
            if document is None:
                return None
            value = change(document.value)
            if value == document.value:
                return document
            try:
                return await self.save(document, value)
            except ConflictError:
                continue
        message = f"{self.kind} {id_} changes all the time: {ATTEMPTS} attempts"
        raise StateError(message)

    def creation(self, id_: str, value: Value) -> Write:
        """Return the write that creates a document, for a transaction."""
        return self._write(id_, value, expected=0)

    def change(self, document: Document[Value], value: Value) -> Write:
        """Return the write that replaces a document, for a transaction."""
        return self._write(document.id, value, expected=document.version)

    def removal(self, document: Document[Value]) -> Write:
        """Return the write that deletes a document, for a transaction."""
        return Write(pk=self.pk, sk=document.id, data=None, expected=document.version)

    def _write(self, id_: str, value: Value, *, expected: int) -> Write:
        new = expected == 0
        value = drill.marked(value) if new else value
        lifetime = drill.lifetime(value, self.lifetime)
        return Write(
            pk=self.pk,
            sk=id_,
            data=value.model_dump_json(),
            expected=expected,
            expires=int((self.clock.now() + lifetime).timestamp()) if lifetime else None,
            drill=drill.of(value) if new else "",
        )

    def _document(self, row: Row) -> Document[Value]:
        value = self.model.model_validate_json(row.data)
        return Document(id=row.sk, value=value, version=row.version)


def listed(writes: Sequence[Write]) -> list[Write]:
    """Return changes, and the rows that list what they add to a drill."""
    entries = [
        Write(
            pk=drill_pk(write.pk.partition("#")[0]),
            sk=f"{write.drill}|{write.pk}|{write.sk}",
            data="{}",
            expected=0,
            expires=write.expires,
        )
        for write in writes
        if write.drill
    ]
    return [*writes, *entries]


def drill_pk(agent: str) -> str:
    """Return the partition key of the rows that list what an agent's drills have stored."""
    return f"{agent}#drill"


def new_id(now: datetime) -> str:
    """Return an id; ids sort by their time."""
    return f"{stamp(now)}{secrets.token_hex(6)}"


def derived_id(now: datetime, *parts: str) -> str:
    """Return an id that the same time and parts always give; ids sort by their time."""
    return f"{stamp(now)}{digest(*parts)[:12]}"


def stamp(now: datetime) -> str:
    """Return milliseconds as eleven hex digits, which sort as the times do until the year 2527."""
    return f"{int(now.timestamp() * 1000):011x}"


def digest(*parts: str) -> str:
    """Return a hash of texts; none of them can imitate the border between two."""
    joined = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
    return hashlib.sha256(joined).hexdigest()
