import dataclasses
import threading
from collections.abc import Callable
from typing import Any, Protocol

import anyio
import httpx
import pytest

from agents.common import readiness
from agents.common.settings import Settings

Open = Callable[[Settings], httpx.AsyncClient]


class Dynamo(Protocol):
    status: int
    body: dict[str, Any]
    asked: list[dict[str, Any]]
    silent: bool
    reached: threading.Event
    url: str


def settings(url: str) -> Settings:
    return Settings(
        agent="supervisor",
        region="us-east-1",
        endpoint=url,
        state_table="acso-development-agent-state",
    )


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a loaded machine take its time for an answer."""
    monkeypatch.setattr(readiness, "DEADLINE", 60)
    monkeypatch.setattr(readiness, "_TIMEOUT", 60)


async def ask(client: Open, url: str) -> tuple[int, dict[str, Any]]:
    async with client(settings(url)) as http:
        answer = await http.get("/supervisor/ready")
    return answer.status_code, answer.json()


async def test_an_agent_is_ready_when_its_table_answers(client: Open, dynamo: Dynamo) -> None:
    status, answer = await ask(client, dynamo.url)
    assert (status, answer["status"]) == (200, "ready")
    assert answer["dependencies"]["state_table"] == {
        "status": "ok",
        "detail": "table acso-development-agent-state is ACTIVE",
    }
    assert dynamo.asked == [
        {
            "target": "DynamoDB_20120810.DescribeTable",
            "TableName": "acso-development-agent-state",
        }
    ]


async def test_readiness_is_not_cached(client: Open, dynamo: Dynamo) -> None:
    async with client(settings(dynamo.url)) as http:
        assert (await http.get("/ready")).status_code == 200
        dynamo.body = {"Table": {"TableStatus": "DELETING"}}
        assert (await http.get("/ready")).status_code == 503
        assert (await http.get("/health")).status_code == 200
    assert len(dynamo.asked) == 2


async def test_a_missing_table_is_named(client: Open, dynamo: Dynamo) -> None:
    dynamo.status = 400
    dynamo.body = {"__type": "ResourceNotFoundException", "message": "no such table"}
    status, answer = await ask(client, dynamo.url)
    assert (status, answer["status"]) == (503, "not ready")
    reason = answer["dependencies"]["state_table"]["detail"]
    assert "ResourceNotFoundException" in reason
    assert "acso-development-agent-state" in reason


async def test_an_unreachable_table_is_a_reason_not_an_error(client: Open, dynamo: Dynamo) -> None:
    dynamo_is_not_here = "http://127.0.0.1:1"
    status, answer = await ask(client, dynamo_is_not_here)
    assert status == 503
    assert "Could not connect" in answer["dependencies"]["state_table"]["detail"]
    assert not dynamo.asked


async def test_an_invalid_endpoint_is_a_reason_not_an_error(client: Open, dynamo: Dynamo) -> None:
    status, answer = await ask(client, "nowhere")
    assert status == 503
    assert "nowhere" in answer["dependencies"]["state_table"]["detail"]
    assert not dynamo.asked


async def test_a_silent_dependency_does_not_block_the_answer(
    client: Open, dynamo: Dynamo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "DEADLINE", 0.3)
    monkeypatch.setattr(readiness, "_TIMEOUT", 1)
    dynamo.silent = True
    status, answer = await ask(client, dynamo.url)  # returns although nothing is ever answered
    assert status == 503
    assert answer["dependencies"]["state_table"]["detail"] == "no answer within 0.3 s"


async def test_hanging_dependencies_use_no_worker_threads_of_requests(
    client: Open, dynamo: Dynamo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "DEADLINE", 0.5)
    monkeypatch.setattr(readiness, "_TIMEOUT", 1)
    dynamo.silent = True
    hunter = dataclasses.replace(settings(dynamo.url), agent="threat-hunter")
    async with client(hunter) as http, anyio.create_task_group() as tasks:
        for _ in range(50):  # more than there are threads for the work
            tasks.start_soon(http.get, "/ready")
        with anyio.fail_after(60):
            assert await anyio.to_thread.run_sync(dynamo.reached.wait, 60)
            assert (await http.post("/analyze", json={"entries": []})).status_code == 200
    # Each of the four threads had time for one look before the deadline of all.
    assert 1 <= len(dynamo.asked) <= 4


async def test_an_unexpected_answer_is_a_reason_not_an_error(client: Open, dynamo: Dynamo) -> None:
    dynamo.body = {}
    status, answer = await ask(client, dynamo.url)
    assert status == 503
    assert "KeyError" in answer["dependencies"]["state_table"]["detail"]


async def test_a_missing_dependency_is_not_configured(client: Open) -> None:
    async with client(Settings(agent="supervisor")) as http:
        answer = await http.get("/ready")
    assert answer.status_code == 200
    assert answer.json()["dependencies"]["state_table"]["status"] == "not configured"
