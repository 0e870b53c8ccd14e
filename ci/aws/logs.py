"""CloudWatch Logs: the log lines of tasks."""

from dataclasses import dataclass

from ci.aws.session import Aws
from ci.errors import AwsError

ABSENT = "ResourceNotFoundException"
#: Pages that are read at most for the last lines of a stream.
TAIL_PAGES = 5


@dataclass(frozen=True, kw_only=True)
class Event:
    """One log line: its stream (`PREFIX/CONTAINER/TASK`), time (Unix ms) and text."""

    stream: str
    at: int
    message: str
    id: str = ""


async def group_exists(aws: Aws, group: str) -> bool:
    """Return whether a log group of exactly this name exists."""
    groups = await aws.pages("logs", "describe_log_groups", "logGroups", logGroupNamePrefix=group)
    return any(item["logGroupName"] == group for item in groups)


async def tail(aws: Aws, group: str, stream: str, *, lines: int) -> list[str]:
    """Return the last lines of a stream, oldest first; none if it does not exist (yet).

    Source: Amazon CloudWatch Logs API Reference, GetLogEvents: a page that is empty or not full
    need not be the last one.
    """
    found: list[str] = []
    position: dict[str, str] = {}
    for _ in range(TAIL_PAGES):
        try:
            answer = await aws.call(
                "logs",
                "get_log_events",
                logGroupName=group,
                logStreamName=stream,
                limit=lines,
                startFromHead=False,
                **position,
            )
        except AwsError as error:
            if error.code == ABSENT:
                return []
            raise
        found = [*(str(event["message"]).rstrip() for event in answer["events"]), *found]
        before = {"nextToken": str(answer.get("nextBackwardToken") or "")}
        if len(found) >= lines or before == (position or {"nextToken": ""}):
            break
        position = before
    return found[-lines:]


async def events_between(
    aws: Aws, group: str, *, start: int, end: int | None = None, prefix: str = ""
) -> list[Event]:
    """Return a group's lines of all streams from `start` to `end` (Unix ms), by time.

    Args:
        aws: the group's account and region.
        group: its name.
        start: first moment, included.
        end: last moment, included; None for now.
        prefix: only streams with this prefix. The embedded AWS ignores it.

    Returns:
        The lines; none if the group does not exist (yet).
    """
    narrow = {"logStreamNamePrefix": prefix} if prefix else {}
    until = {"endTime": end} if end is not None else {}
    try:
        found = await aws.pages(
            "logs",
            "filter_log_events",
            "events",
            logGroupName=group,
            startTime=max(0, start),
            **until,
            **narrow,
        )
    except AwsError as error:
        if error.code == ABSENT:
            return []
        raise
    events = (
        Event(
            stream=item["logStreamName"],
            at=item["timestamp"],
            message=str(item["message"]).rstrip(),
            id=item.get("eventId") or "",
        )
        for item in found
    )
    return sorted((event for event in events if event.stream.startswith(prefix)), key=_time)


def _time(event: Event) -> int:
    return event.at


async def next_lines(aws: Aws, group: str, stream: str, token: str = "") -> tuple[list[str], str]:
    """Return a stream's next lines and the token for the following call; none if it is new."""
    position = {"nextToken": token} if token else {}
    try:
        answer = await aws.call(
            "logs",
            "get_log_events",
            logGroupName=group,
            logStreamName=stream,
            startFromHead=True,
            **position,
        )
    except AwsError as error:
        if error.code == ABSENT:
            return [], token
        raise
    lines = [str(event["message"]).rstrip() for event in answer["events"]]
    return lines, str(answer.get("nextForwardToken") or token)
