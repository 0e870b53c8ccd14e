"""An environment's DynamoDB table of releases: documents and one lock.

Keys are `pk` and `sk`, both text. Every write of a document names the holder of the lock that
makes it, and is refused once another holder has taken the document over: a process that lost its
lease cannot write into its successor's history.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ci.aws.session import Aws
from ci.errors import AwsError

LOCK = {"pk": {"S": "lock"}, "sk": {"S": "lock"}}
CONDITION_FAILED = "ConditionalCheckFailedException"
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
    """The lock as it stands: its holder, and when it ends unless renewed (Unix seconds)."""

    token: str
    expires: float
    holder: Mapping[str, Any]


async def put(aws: Aws, table: str, document: Document, *, taken_from: str = "") -> bool:
    """Write a document that is new, or its owner's own, or taken over from `taken_from`.

    Returns False, and writes nothing, if somebody else owns it.
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
    """Return one document; None if there is none."""
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
    """Delete a document as it was read; False, and nothing is deleted, if it changed owner."""
    key = {"pk": {"S": document.kind}, "sk": {"S": document.key}}
    owners = {":own": {"S": document.owner}}
    return await _remove(aws, table, key, "#owner = :own", owners, ATTRIBUTES)


async def lease(aws: Aws, table: str) -> Lease | None:
    """Return the lock as it stands; None if nobody holds it."""
    answer = await aws.call("dynamodb", "get_item", TableName=table, Key=LOCK, ConsistentRead=True)
    item = answer.get("Item")
    return _lease(item) if item else None


async def put_lease(aws: Aws, table: str, new: Lease, *, old: Lease | None) -> bool:
    """Put a lease in place of the old one as it was seen; False if that changed meanwhile.

    Renewing is the same: `old` is one's own lease.
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
    """Remove the lock if it is still this holder's; tells whether it was."""
    mine = {":token": {"S": token}}
    return await _remove(aws, table, LOCK, "#token = :token", mine, {"#token": "token"})


async def break_lease(aws: Aws, table: str, seen: Lease) -> bool:
    """Remove the lock as it was seen; False if its holder renewed or another took it since."""
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
