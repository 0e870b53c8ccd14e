"""CloudWatch Logs: what a task has written."""

from ci.aws.session import Aws
from ci.errors import AwsError

ABSENT = "ResourceNotFoundException"


async def group_exists(aws: Aws, group: str) -> bool:
    """Tell whether a log group of exactly this name exists."""
    groups = await aws.pages("logs", "describe_log_groups", "logGroups", logGroupNamePrefix=group)
    return any(item["logGroupName"] == group for item in groups)


async def tail(aws: Aws, group: str, stream: str, *, lines: int) -> list[str]:
    """Return the last lines of a stream, oldest first; none if it does not exist (yet)."""
    try:
        answer = await aws.call(
            "logs",
            "get_log_events",
            logGroupName=group,
            logStreamName=stream,
            limit=lines,
            startFromHead=False,
        )
    except AwsError as error:
        if error.code == ABSENT:
            return []
        raise
    return [str(event["message"]).rstrip() for event in answer["events"]]
