"""The state of one process, for tests and for agents without a table."""

from collections.abc import Sequence

from agents.common.clock import Clock
from agents.common.store.state import ConflictError, Row, StateError, Write, listed


class MemoryTable:
    """A table in memory with the semantics of the one in DynamoDB."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: dict[str, dict[str, Row]] = {}

    async def get(self, pk: str, sk: str) -> Row | None:
        """Return a row as last written."""
        row = self._rows.get(pk, {}).get(sk)
        return None if row is None or self._expired(row) else row

    async def query(
        self, pk: str, *, limit: int, after: str = "", newest: bool = True
    ) -> list[Row]:
        """Return rows of a partition in the order of their sort keys, or the reverse."""
        rows = sorted(self._rows.get(pk, {}).values(), key=lambda row: row.sk, reverse=newest)
        return [
            row
            for row in rows
            if not self._expired(row)
            and (not after or (row.sk < after if newest else row.sk > after))
        ][:limit]

    async def write(self, writes: Sequence[Write]) -> None:
        """Make all changes or none; raises `ConflictError`."""
        writes = listed(writes)
        if len({(write.pk, write.sk) for write in writes}) < len(writes):
            raise StateError("a transaction changes an item once")
        for write in writes:
            row = await self.get(write.pk, write.sk)
            if (row.version if row else 0) != write.expected:
                message = f"{write.pk} {write.sk} was changed"
                raise ConflictError(message)
        for write in writes:
            rows = self._rows.setdefault(write.pk, {})
            if write.data is None:
                rows.pop(write.sk, None)
                continue
            rows[write.sk] = Row(
                pk=write.pk,
                sk=write.sk,
                data=write.data,
                version=write.expected + 1,
                expires=write.expires,
            )

    def _expired(self, row: Row) -> bool:
        return row.expires is not None and row.expires <= self._clock.now().timestamp()
