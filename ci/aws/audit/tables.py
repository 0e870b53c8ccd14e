"""Amazon DynamoDB: encryption and backups of tables."""

import datetime
from dataclasses import dataclass

from ci.aws.session import Aws
from ci.errors import AwsError

ABSENT = ("ResourceNotFoundException", "TableNotFoundException")


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table: its state, and the KMS key that encrypts it (empty: DynamoDB's own key)."""

    name: str
    status: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Backups:
    """Point-in-time recovery of a table, and the latest moment that it can be restored to."""

    enabled: bool
    latest: datetime.datetime | None


async def names(aws: Aws) -> list[str]:
    """Return the names of all tables of the region."""
    return [str(name) for name in await aws.pages("dynamodb", "list_tables", "TableNames")]


async def table(aws: Aws, name: str) -> Table | None:
    """Return a table, None if it does not exist."""
    try:
        found = (await aws.call("dynamodb", "describe_table", TableName=name))["Table"]
    except AwsError as error:
        if error.code in ABSENT:
            return None
        raise
    encryption = found.get("SSEDescription") or {}
    active = encryption.get("Status") in ("ENABLED", "UPDATING")
    key = encryption.get("KMSMasterKeyArn", "") if active else ""
    return Table(name=name, status=found["TableStatus"], key=key)


async def backups(aws: Aws, name: str) -> Backups | None:
    """Return the backups of a table, None if it does not exist."""
    try:
        answer = await aws.call("dynamodb", "describe_continuous_backups", TableName=name)
    except AwsError as error:
        if error.code in ABSENT:
            return None
        raise
    found = answer["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription") or {}
    return Backups(
        enabled=found.get("PointInTimeRecoveryStatus") == "ENABLED",
        latest=found.get("LatestRestorableDateTime"),
    )
