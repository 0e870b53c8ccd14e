"""The embedded AWS returns all log lines, page by page."""

import json
from typing import Any

import pytest
from ministack.services import cloudwatch_logs

from ci.local.aws import log_pages

GROUP = "/aws/acso/development/agents"
BIG, SMALL = "supervisor/a/1", "threat-hunter/a/2"


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a group with 25,000 lines of one stream, ten a millisecond, and one at the end."""
    lines = [{"timestamp": 1000 + n // 10, "message": f"line {n}"} for n in range(25_000)]
    last = [{"timestamp": 9_000, "message": "the cause"}]
    streams = {BIG: {"events": lines}, SMALL: {"events": last}}
    monkeypatch.setattr(cloudwatch_logs, "_log_groups", {GROUP: {"streams": streams}})


def read(operation: Any, **arguments: Any) -> list[list[str]]:
    """Return the messages of each page."""
    pages, token = [], ""
    while True:
        given = {"logGroupName": GROUP, **arguments, **({"nextToken": token} if token else {})}
        status, _, body = operation(given)
        assert status == 200
        found = json.loads(body)
        pages.append([event["message"] for event in found["events"]])
        token = found.get("nextToken", "")
        if not token:
            return pages


@pytest.mark.usefixtures("group")
def test_every_line_is_read_in_order_and_once() -> None:
    original = cloudwatch_logs._filter_log_events
    pages = read(log_pages.with_pages(cloudwatch_logs, original))
    assert [line for page in pages for line in page] == [
        *(f"line {n}" for n in range(25_000)),
        "the cause",
    ]
    assert max(map(len, pages)) <= log_pages.PAGE
    assert read(original)[-1][-1] == "line 9999"  # why the correction is needed


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("limit", [7, 1000])
def test_a_limit_makes_smaller_pages(limit: int) -> None:
    operation = log_pages.with_pages(cloudwatch_logs, cloudwatch_logs._filter_log_events)
    pages = read(operation, limit=limit, startTime=3_400)
    assert [line for page in pages for line in page] == [
        *(f"line {n}" for n in range(24_000, 25_000)),
        "the cause",
    ]
    assert max(map(len, pages)) <= limit


@pytest.mark.usefixtures("group")
def test_an_error_is_passed_on() -> None:
    operation = log_pages.with_pages(cloudwatch_logs, cloudwatch_logs._filter_log_events)
    assert operation({"logGroupName": "other"})[0] == 400
