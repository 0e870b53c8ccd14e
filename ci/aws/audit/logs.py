"""CloudWatch Logs: encryption and retention of log groups."""

from dataclasses import dataclass

from ci.aws.session import Aws


@dataclass(frozen=True, kw_only=True)
class Group:
    """One log group: its key (empty: none), and the days that it keeps (None: for ever)."""

    name: str
    key: str
    retention: int | None


async def groups(aws: Aws, prefix: str) -> list[Group]:
    """Return the log groups whose name begins with a prefix."""
    found = await aws.pages("logs", "describe_log_groups", "logGroups", logGroupNamePrefix=prefix)
    return [
        Group(
            name=item["logGroupName"],
            key=item.get("kmsKeyId", ""),
            retention=item.get("retentionInDays"),
        )
        for item in found
    ]
