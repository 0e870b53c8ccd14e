"""An environment's DynamoDB table of releases: documents and one lock.

Keys are `pk` and `sk`, both text. Every document has an owner, the token of the lock under which
it was written. A write fails if another holder has taken over the document: a process that lost
its lease cannot overwrite the records of the next holder.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ci.aws.session import Aws
from ci.errors import AwsError

LOCK = {"pk": {"S": "lock"}, "sk": {"S": "lock"}}
CONDITION_FAILED = "ConditionalCheckFailedException"
#: Kind and owner of what was measured of a release, under the key of its record.
MEASURED = "measured"
ATTRIBUTES = {"#owner": "owner"}  # a reserved word in expressions


@dataclass(frozen=True, kw_only=True)
class Document:
    """One document of a kind (`pk`), ordered by `key` (`sk`)."""

    kind: str
    key: str
    state: str
    owner: str
    body: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The current lock: its holder, and when it expires unless renewed (Unix seconds)."""

    token: str
    expires: float
    holder: Mapping[str, Any]


async def put(aws: Aws, table: str, document: Document, *, taken_from: str = "") -> bool:
    """Write a document that is new, owned by its `owner`, or taken over from `taken_from`.

    Returns False, and writes nothing, if it has another owner.
    """
    owners = {":own": {"S": document.owner}, ":other": {"S": taken_from or document.owner}}
    return await _write(
        aws,
        table,
        {
            "pk": {"S": document.kind},
            "sk": {"S": document.key},
            "state": {"S": document.state},
            "owner": {"S": document.owner},
            "body": {"S": json.dumps(document.body, sort_keys=True)},
        },
        "attribute_not_exists(pk) OR #owner = :own OR #owner = :other",
        owners,
    )


async def get(aws: Aws, table: str, kind: str, key: str) -> Document | None:
    """Return one document; None if it does not exist."""
    id_ = {"pk": {"S": kind}, "sk": {"S": key}}
    answer = await aws.call("dynamodb", "get_item", TableName=table, Key=id_, ConsistentRead=True)
    item = answer.get("Item")
    return _document(item) if item else None


async def documents(aws: Aws, table: str, kind: str) -> list[Document]:
    """Return all documents of a kind, newest (highest key) first."""
    items = await aws.pages(
        "dynamodb",
        "query",
        "Items",
        TableName=table,
        KeyConditionExpression="pk = :kind",
        ExpressionAttributeValues={":kind": {"S": kind}},
        ScanIndexForward=False,
        ConsistentRead=True,
    )
    return [_document(item) for item in items]


async def remove(aws: Aws, table: str, document: Document) -> bool:
    """Delete a document; return False, and delete nothing, if its owner has changed."""
    key = {"pk": {"S": document.kind}, "sk": {"S": document.key}}
    owners = {":own": {"S": document.owner}}
    return await _remove(aws, table, key, "#owner = :own", owners, ATTRIBUTES)


async def lease(aws: Aws, table: str) -> Lease | None:
    """Return the current lock; None if nobody holds it."""
    answer = await aws.call("dynamodb", "get_item", TableName=table, Key=LOCK, ConsistentRead=True)
    item = answer.get("Item")
    return _lease(item) if item else None


async def put_lease(aws: Aws, table: str, new: Lease, *, old: Lease | None) -> bool:
    """Replace the old lease by a new one; return False if the old one has changed.

    To renew a lease, `old` is the holder's own.
    """
    item = {
        **LOCK,
        "token": {"S": new.token},
        "expires": {"N": repr(new.expires)},
        "holder": {"S": json.dumps(new.holder, sort_keys=True)},
    }
    if old is None:
        return await _write(aws, table, item, "attribute_not_exists(pk)", {})
    seen = {":token": {"S": old.token}, ":expires": {"N": repr(old.expires)}}
    condition = "#token = :token AND expires = :expires"
    return await _write(aws, table, item, condition, seen, {"#token": "token"})


async def release_lease(aws: Aws, table: str, token: str) -> bool:
    """Remove the lock if this holder still has it; return whether it had."""
    mine = {":token": {"S": token}}
    return await _remove(aws, table, LOCK, "#token = :token", mine, {"#token": "token"})


async def break_lease(aws: Aws, table: str, seen: Lease) -> bool:
    """Remove the lock as it was read; return False if it was renewed or taken over since."""
    values = {":token": {"S": seen.token}, ":expires": {"N": repr(seen.expires)}}
    condition = "#token = :token AND expires = :expires"
    return await _remove(aws, table, LOCK, condition, values, {"#token": "token"})


async def _remove(
    aws: Aws,
    table: str,
    key: Mapping[str, Any],
    condition: str,
    values: Mapping[str, Any],
    names: Mapping[str, str],
) -> bool:
    try:
        await aws.call(
            "dynamodb",
            "delete_item",
            TableName=table,
            Key=key,
            ConditionExpression=condition,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=values,
        )
    except AwsError as error:
        if error.code == CONDITION_FAILED:
            return False
        raise
    return True


async def _write(
    aws: Aws,
    table: str,
    item: Mapping[str, Any],
    condition: str,
    values: Mapping[str, Any],
    names: Mapping[str, str] = ATTRIBUTES,
) -> bool:
    request: dict[str, Any] = {"TableName": table, "Item": item, "ConditionExpression": condition}
    if values:  # DynamoDB refuses names and values that no expression uses
        request |= {"ExpressionAttributeValues": values, "ExpressionAttributeNames": names}
    try:
        await aws.call("dynamodb", "put_item", **request)
    except AwsError as error:
        if error.code == CONDITION_FAILED:
            return False
        raise
    return True


def _document(item: Mapping[str, Any]) -> Document:
    return Document(
        kind=item["pk"]["S"],
        key=item["sk"]["S"],
        state=item["state"]["S"],
        owner=item["owner"]["S"],
        body=json.loads(item["body"]["S"]),
    )


def _lease(item: Mapping[str, Any]) -> Lease:
    return Lease(
        token=item["token"]["S"],
        expires=float(item["expires"]["N"]),
        holder=json.loads(item["holder"]["S"]),
    )
