"""A DynamoDB table in memory, with the conditions of the release records and the lock."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ci.errors import AwsError


@dataclass
class Table:
    """The items of a table, by their keys."""

    items: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def get_item(self, Key: Mapping[str, Any], **_: Any) -> dict[str, Any]:  # noqa: N803
        item = self.items.get(_key(Key))
        return {"Item": item} if item else {}

    def put_item(self, Item: dict[str, Any], **request: Any) -> dict[str, Any]:  # noqa: N803
        self._condition(_key(Item), request)
        self.items[_key(Item)] = Item
        return {}

    def delete_item(self, Key: Mapping[str, Any], **request: Any) -> dict[str, Any]:  # noqa: N803
        self._condition(_key(Key), request)
        self.items.pop(_key(Key), None)
        return {}

    def query(
        self,
        ExpressionAttributeValues: Any,  # noqa: N803
        Limit: int | None = None,  # noqa: N803
        **_: Any,
    ) -> dict[str, Any]:
        kind = ExpressionAttributeValues[":kind"]["S"]
        keys = sorted((key for key in self.items if key[0] == kind), reverse=True)
        return {"Items": [self.items[key] for key in keys[:Limit]]}

    def _condition(self, key: tuple[str, str], request: Mapping[str, Any]) -> None:
        names = request.get("ExpressionAttributeNames", {})
        values = request.get("ExpressionAttributeValues", {})
        item = self.items.get(key)

        def holds(term: str) -> bool:
            if term == "attribute_not_exists(pk)":
                return item is None
            name, value = term.split(" = ")
            return item is not None and item[names.get(name, name)] == values[value]

        text = request["ConditionExpression"]
        if not any(all(map(holds, part.split(" AND "))) for part in text.split(" OR ")):
            raise AwsError("The conditional request failed", code="ConditionalCheckFailedException")


def _key(item: Mapping[str, Any]) -> tuple[str, str]:
    return item["pk"]["S"], item["sk"]["S"]
