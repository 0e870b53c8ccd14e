"""DynamoDB tables: items, conditional writes and queries.

Source: Amazon DynamoDB Developer Guide, "Condition expression operators and functions".
"""

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.unit.release.badday.timeline import RefusedError

Item = dict[str, Any]
PAGE = 4  # items of a query's page; AWS ends a page at 1 MB
WORD = re.compile(r"\s*(AND\b|OR\b|[()=]|attribute_(?:not_)?exists|[#:]?\w+)")


@dataclass
class Condition:
    """Evaluates a condition expression on an item."""

    item: Mapping[str, Any]
    names: Mapping[str, str]
    values: Mapping[str, Any]
    words: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    def holds(self, text: str) -> bool:
        """Return whether the condition is met; names and values must all be used."""
        self.words = WORD.findall(text)
        if "".join(self.words) != re.sub(r"\s", "", text):
            raise AssertionError(f"the model does not know the expression {text}")
        result = self._any()
        unused = {*self.names, *self.values} - self.used
        if self.words or unused:
            raise RefusedError("ValidationException", f"not used in expressions: {unused}")
        return result

    def _any(self) -> bool:
        result = self._all()
        while self.words and self.words[0] == "OR":
            self.words.pop(0)
            result = self._all() or result
        return result

    def _all(self) -> bool:
        result = self._term()
        while self.words and self.words[0] == "AND":
            self.words.pop(0)
            result = self._term() and result
        return result

    def _term(self) -> bool:
        word = self.words.pop(0)
        if word == "(":
            result = self._any()
            self.words.pop(0)
            return result
        if word.startswith("attribute_"):
            name = self._name(self.words[1])
            del self.words[:3]
            return (name in self.item) == (word == "attribute_exists")
        if self.words.pop(0) != "=":
            raise AssertionError("the model knows only equality")
        value = self.words.pop(0)
        self.used.add(value)
        return bool(self.item.get(self._name(word)) == self.values[value])

    def _name(self, word: str) -> str:
        self.used.add(word)
        return self.names[word] if word.startswith("#") else word


@dataclass
class Tables:
    """The items of one table with the keys `pk` and `sk`, both text."""

    name: str
    items: dict[tuple[str, str], Item] = field(default_factory=dict)

    def call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one operation."""
        if request["TableName"] != self.name:
            raise RefusedError("ResourceNotFoundException", "Requested resource not found")
        answer: dict[str, Any] = getattr(self, f"_{operation}")(request)
        return copy.deepcopy(answer)

    def _get_item(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert request.get("ConsistentRead"), "an eventually consistent read"
        item = self.items.get(_key(request["Key"]))
        return {"Item": item} if item else {}

    def _put_item(self, request: Mapping[str, Any]) -> dict[str, Any]:
        key = _key(request["Item"])
        self._check(key, request)
        self.items[key] = copy.deepcopy(dict(request["Item"]))
        return {}

    def _delete_item(self, request: Mapping[str, Any]) -> dict[str, Any]:
        key = _key(request["Key"])
        self._check(key, request)
        self.items.pop(key, None)
        return {}

    def _check(self, key: tuple[str, str], request: Mapping[str, Any]) -> None:
        names = request.get("ExpressionAttributeNames", {})
        values = request.get("ExpressionAttributeValues", {})
        condition = Condition(self.items.get(key, {}), names, values)
        if "ConditionExpression" in request and not condition.holds(request["ConditionExpression"]):
            raise RefusedError("ConditionalCheckFailedException", "The conditional request failed")

    def _query(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert request.get("ConsistentRead"), "an eventually consistent read"
        assert request["KeyConditionExpression"] == "pk = :kind"
        kind = request["ExpressionAttributeValues"][":kind"]["S"]
        newest = request.get("ScanIndexForward") is False
        keys = sorted((key for key in self.items if key[0] == kind), reverse=newest)
        if "ExclusiveStartKey" in request:
            last = _key(request["ExclusiveStartKey"])
            keys = [key for key in keys if (key < last if newest else key > last)]
        found = [self.items[key] for key in keys[:PAGE]]
        if len(keys) <= PAGE:
            return {"Items": found}
        last_item = found[-1]
        return {"Items": found, "LastEvaluatedKey": {"pk": last_item["pk"], "sk": last_item["sk"]}}


def _key(item: Mapping[str, Any]) -> tuple[str, str]:
    return item["pk"]["S"], item["sk"]["S"]
