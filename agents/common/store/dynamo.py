"""The state of all copies of the agents, in DynamoDB."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import anyio

from agents.common.aws import Aws
from agents.common.clock import Clock
from agents.common.store.state import ConflictError, Row, StateError, Write, listed

Result = TypeVar("Result")
#: Threads that wait for DynamoDB at once.
_THREADS = 32
#: What DynamoDB answers if a condition does not hold, or another transaction is under way.
_CONFLICTS = (
    "ConditionalCheckFailedException",
    "TransactionCanceledException",
    "TransactionConflictException",
)
_REASONS = ("None", "ConditionalCheckFailed", "TransactionConflict")


class DynamoTable:
    """A table of DynamoDB with keys `pk` and `sk`, and `expires` as its time to live.

    DynamoDB removes expired items late, so every read checks the time itself.
    """

    def __init__(self, aws: Aws, name: str, clock: Clock) -> None:
        self._aws = aws
        self._name = name
        self._clock = clock
        self._limiter: anyio.CapacityLimiter | None = None

    def warm(self) -> None:
        """Import boto3 and create the client, so that the first request does not wait for it."""
        self._client()

    async def get(self, pk: str, sk: str) -> Row | None:
        """Return a row as last written; raises `StateError`."""
        answer = await self._call(
            lambda: self._client().get_item(
                TableName=self._name, Key=_key(pk, sk), ConsistentRead=True
            )
        )
        rows = self._valid([answer["Item"]] if "Item" in answer else [])
        return rows[0] if rows else None

    async def query(
        self, pk: str, *, limit: int, after: str = "", newest: bool = True
    ) -> list[Row]:
        """Return rows of a partition in the order of their sort keys, or the reverse."""
        rows: list[Row] = []
        start = _key(pk, after) if after else None
        while True:
            more = {"ExclusiveStartKey": start} if start else {}
            request = {
                "TableName": self._name,
                "KeyConditionExpression": "pk = :pk",
                "ExpressionAttributeValues": {":pk": {"S": pk}},
                "ConsistentRead": True,
                "ScanIndexForward": not newest,
                "Limit": limit,
                **more,
            }
            answer = await self._call(lambda r=request: self._client().query(**r))  # type: ignore[misc]
            rows += self._valid(answer["Items"])
            start = answer.get("LastEvaluatedKey")
            if start is None or len(rows) >= limit:
                return rows[:limit]

    async def write(self, writes: Sequence[Write]) -> None:
        """Make all changes or none; raises `ConflictError` and `StateError`."""
        writes = listed(writes)
        if len(writes) != 1:
            items = [{kind: request} for kind, request in map(self._request, writes)]
            await self._call(lambda: self._client().transact_write_items(TransactItems=items))
            return
        [(kind, request)] = map(self._request, writes)
        method = "put_item" if kind == "Put" else "delete_item"
        await self._call(lambda: getattr(self._client(), method)(**request))

    def _request(self, write: Write) -> tuple[str, dict[str, Any]]:
        """Return a write as a part of a transaction: Put or Delete, and its parameters."""
        request: dict[str, Any] = {"TableName": self._name}
        if write.expected:
            request["ConditionExpression"] = "version = :expected"
            values = {":expected": {"N": str(write.expected)}}
        else:
            # An expired item that DynamoDB has not removed yet does not exist.
            request["ConditionExpression"] = "attribute_not_exists(pk) OR expires <= :now"
            values = {":now": {"N": str(int(self._clock.now().timestamp()))}}
        request["ExpressionAttributeValues"] = values
        if write.data is None:
            return "Delete", request | {"Key": _key(write.pk, write.sk)}
        item = _key(write.pk, write.sk) | {
            "data": {"S": write.data},
            "version": {"N": str(write.expected + 1)},
        }
        if write.expires is not None:
            item["expires"] = {"N": str(write.expires)}
        return "Put", request | {"Item": item}

    def _valid(self, items: Sequence[dict[str, Any]]) -> list[Row]:
        rows = [
            Row(
                pk=item["pk"]["S"],
                sk=item["sk"]["S"],
                data=item["data"]["S"],
                version=int(item["version"]["N"]),
                expires=int(item["expires"]["N"]) if "expires" in item else None,
            )
            for item in items
        ]
        now = self._clock.now().timestamp()
        return [row for row in rows if row.expires is None or row.expires > now]

    async def _call(self, function: Callable[[], Result]) -> Result:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(_THREADS)
        try:
            return await anyio.to_thread.run_sync(function, limiter=self._limiter)
        except Exception as error:
            # Any other error than a conflict is a reason why the table cannot be used: botocore's,
            # or ValueError for an endpoint that is not a URL.
            if _is_conflict(error):
                raise ConflictError(str(error)) from error
            message = f"table {self._name}: {type(error).__name__}: {error}"
            raise StateError(message) from error

    def _client(self) -> Any:
        return self._aws.client("dynamodb")


def _is_conflict(error: Exception) -> bool:
    answer = getattr(error, "response", {})
    if answer.get("Error", {}).get("Code") not in _CONFLICTS:
        return False
    reasons = [reason.get("Code", "None") for reason in answer.get("CancellationReasons", ())]
    return all(reason in _REASONS for reason in reasons)


def _key(pk: str, sk: str) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}
