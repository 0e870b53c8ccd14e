import json
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.common.settings import Settings
from agents.common.telemetry.logs import AccessLog, JsonFormatter

Open = Callable[[Settings], httpx.AsyncClient]
Logged = Callable[[], list[dict[str, Any]]]


async def test_a_request_is_one_line_with_its_id_and_duration(client: Open, logged: Logged) -> None:
    async with client(Settings(agent="threat-hunter", version="v1")) as http:
        answer = await http.get("/threat-hunter/ready", headers={"X-Request-Id": "abc-1"})
    [line] = [line for line in logged() if "path" in line]
    assert answer.headers["x-request-id"] == "abc-1"
    assert datetime.fromisoformat(line.pop("time")).utcoffset() is not None
    assert 0 <= line.pop("duration_ms") < 10_000
    assert line == {
        "level": "info",
        "agent": "threat-hunter",
        "version": "v1",
        "message": "GET /threat-hunter/ready 200",
        "request_id": "abc-1",
        "method": "GET",
        "path": "/threat-hunter/ready",
        "status": 200,
    }


async def test_health_checks_are_not_logged(client: Open, logged: Logged) -> None:
    async with client(Settings(agent="threat-hunter")) as http:
        await http.get("/health")
        await http.get("/threat-hunter/health")
        await http.get("/missing")
    assert [line["path"] for line in logged() if "path" in line] == ["/missing"]


async def test_nothing_that_a_client_sends_is_logged(client: Open, logged: Logged) -> None:
    async with client(Settings(agent="threat-hunter")) as http:
        answer = await http.post(
            "/analyze?token=s3cret",
            json={"entries": "s3cret"},
            headers={"X-Other": "s3cret"},
        )
        refused = await http.post("/analyze", headers={"Authorization": "Bearer s3cret"})
    assert (answer.status_code, refused.status_code) == (422, 401)
    lines = logged()
    assert lines
    assert "s3cret" not in json.dumps(lines)


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ({"X-Amzn-Trace-Id": "Root=1-67-abc;Self=1-2"}, "Root=1-67-abc;Self=1-2"),
        ({"X-Request-Id": "first", "X-Amzn-Trace-Id": "second"}, "first"),
        ({"X-Request-Id": "two words"}, None),
        ({"X-Request-Id": "x" * 129}, None),
        ({}, None),
    ],
)
async def test_only_harmless_ids_are_taken_over(
    headers: dict[str, str], kept: str | None, client: Open
) -> None:
    async with client(Settings(agent="threat-hunter")) as http:
        identity = (await http.get("/health", headers=headers)).headers["x-request-id"]
    assert identity == kept if kept else len(identity) == 32


async def test_events_other_than_requests_pass_through() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
        seen.append(scope["type"])

    async def never(*_: Any) -> Any:
        raise AssertionError

    await AccessLog(app, quiet=frozenset())({"type": "lifespan"}, never, never)
    assert seen == ["lifespan"]


@given(message=st.text(), extra=st.dictionaries(st.text(min_size=1), st.text()))
def test_a_record_is_one_line_of_json_whatever_its_text(
    message: str, extra: dict[str, str]
) -> None:
    record = logging.LogRecord("x", logging.INFO, "x", 1, "%s", (message,), None)
    record.fields = {f"x_{name}": value for name, value in extra.items()}
    line = JsonFormatter("supervisor", "v1").format(record)
    assert line.isprintable() or len(line.split("\n")) == 1
    read = json.loads(line)
    assert read["message"] == message
    assert all(read[f"x_{name}"] == value for name, value in extra.items())
