"""CloudWatch Logs: lines beyond the first page are on further pages, not lost.

Source: Amazon CloudWatch Logs API Reference, FilterLogEvents ("one page of up to 10,000 events",
nextToken). ministack answers with the first page alone, and no token.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from ci.local.aws.patching import replace

PAGE = 10_000  # events in an answer at most
Answer = tuple[int, dict[str, str], bytes]
Operation = Callable[[dict[str, Any]], Answer]


def apply(logs: Any) -> None:
    """Give the answers of FilterLogEvents a token for the next page."""
    replace(logs, "_filter_log_events", partial(with_pages, logs))


def with_pages(logs: Any, original: Operation) -> Operation:
    """Return the operation with pages.

    A token is the time of the last event of a page, and how many events of that time were returned.
    """

    def filter_log_events(data: dict[str, Any]) -> Answer:
        limit = min(int(data.get("limit") or PAGE), PAGE)
        since, seen = _position(data)
        if seen >= PAGE:
            text = f"more than {PAGE} events have the time {since}"
            return logs.error_response_json("InvalidOperationException", text, 400)  # type: ignore[no-any-return]
        # Those of the page before come again.
        asked = data | {"startTime": since, "limit": min(limit + seen, PAGE)}
        status, headers, body = original(asked)
        if status != 200:
            return status, headers, body
        found = json.loads(body)
        events = found["events"]
        if len(events) == asked["limit"]:
            found["nextToken"] = _token(events)
        found["events"] = events[seen:]
        return status, headers, json.dumps(found, ensure_ascii=False).encode()

    return filter_log_events


def _position(data: dict[str, Any]) -> tuple[int, int]:
    """Return the time to read from, and how many events of that time were returned."""
    token = data.get("nextToken")
    if not token:
        return int(data.get("startTime") or 0), 0
    since, _, seen = str(token).partition("/")
    return int(since), int(seen)


def _token(events: list[dict[str, Any]]) -> str:
    last = events[-1]["timestamp"]
    return f"{last}/{sum(event['timestamp'] == last for event in events)}"
