"""Rows of the environment's table between a prober and its client.

A request's row is removed by the prober before it is sent, a response's row by the client once it
is read. DynamoDB removes what is left of both after an hour.
"""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ci.aws.elb import Answer, answer_of
from ci.aws.prober import (
    ALIVE,
    FROM,
    KEPT_SECONDS,
    READY,
    TO,
    Request,
    packed,
    unpacked_response,
)
from ci.aws.session import Aws
from ci.common.concurrency import parallel

#: No agent's partition begins like this: their names begin with a letter.
PARTITION = "/probe#"
#: Characters of a request as text. Source: DynamoDB Developer Guide, "Quotas": 400 KB in an item.
MOST = 390_000


async def last_beat(aws: Aws, table: str, id_: str) -> float:
    """Return when a prober's client gave its last sign of life (Unix seconds); 0 for none."""
    key = {"pk": {"S": PARTITION + id_}, "sk": {"S": ALIVE}}
    answer = await aws.call("dynamodb", "get_item", TableName=table, Key=key, ConsistentRead=True)
    return float(answer["Item"]["expires"]["N"]) - KEPT_SECONDS if answer.get("Item") else 0.0


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One prober's rows."""

    aws: Aws
    table: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def partition(self) -> str:
        """The partition of its rows."""
        return PARTITION + self.id

    async def ask(self, name: str, request: Request) -> None:
        """Write a request; raises `ValueError` if it is too large for a row."""
        text = packed(request)
        if len(text) > MOST:
            message = (
                f"a request of {len(text):,} characters is too large for the prober ({MOST:,})"
            )
            raise ValueError(message)
        await self._put(f"{TO}{name}", text)

    async def withdraw(self, name: str) -> None:
        """Remove a request that is not needed any more."""
        await self._remove(f"{TO}{name}")

    async def beat(self, number: int) -> None:
        """Give a sign of life."""
        await self._put(ALIVE, str(number))

    async def answers(self) -> dict[str, Answer]:
        """Return what came back since the last call, by the requests' names; remove its rows.

        The row that says that the prober is ready stays; its name is "".
        """
        found = await self._rows(FROM)
        ready = {"": Answer(status=200)} if found.pop(READY, None) is not None else {}
        await parallel(self._remove, found)
        return ready | {
            name.removeprefix(FROM): answer_of(unpacked_response(text))
            for name, text in found.items()
        }

    async def clear(self) -> None:
        """Remove all rows."""
        await parallel(self._remove, [*await self._rows(FROM), *await self._rows(TO)])

    async def _rows(self, prefix: str) -> dict[str, str]:
        items = await self.aws.pages(
            "dynamodb",
            "query",
            "Items",
            TableName=self.table,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
            ExpressionAttributeValues={
                ":pk": {"S": self.partition},
                ":prefix": {"S": prefix},
            },
            ConsistentRead=True,
        )
        return {item["sk"]["S"]: item["value"]["S"] for item in items}

    async def _put(self, name: str, value: str) -> None:
        expires = {"N": str(int(time.time()) + KEPT_SECONDS)}
        item = {**self._key(name), "value": {"S": value}, "expires": expires}
        await self.aws.call("dynamodb", "put_item", TableName=self.table, Item=item)

    async def _remove(self, name: str) -> None:
        await self.aws.call("dynamodb", "delete_item", TableName=self.table, Key=self._key(name))

    def _key(self, name: str) -> Mapping[str, Any]:
        return {"pk": {"S": self.partition}, "sk": {"S": name}}
