import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter

from agents.common.app import create
from agents.common.settings import Settings

ROOT = Path(__file__).parents[3]
AGENTS = tuple(tomllib.loads((ROOT / "acso.toml").read_text())["agents"])
TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "supervisor": ("/goals", {"goal": "urgent: patch the servers"}),
    "threat-hunter": (
        "/analyze",
        {
            "entries": [
                {
                    "eventName": "CreateRole",
                    "sourceIPAddress": "198.51.100.7",
                    "eventTime": "2026-11-24T12:00:00Z",
                    "userIdentity": {"type": "IAMUser"},
                }
            ]
        },
    ),
    "incident-response": (
        "/assess",
        {"type": "malware", "severity": "high", "systems": ["prod-db"], "impact_usd": 20000},
    ),
    "service-orchestration": ("/triage", {"title": "The server is down", "client": "enterprise"}),
    "financial-intelligence": (
        "/opportunities",
        {
            "clients": [{"name": "a", "usage": 0.9, "satisfaction": 4.5, "renewal_months": 3}],
            "licences": [{"product": "b", "utilisation": 0.5, "monthly_cost": 2000}],
            "processes": [
                {"name": "c", "manual_tasks": 200, "complexity": 0.1, "expected_return": 3}
            ],
        },
    ),
}

Open = Callable[[Settings], httpx.AsyncClient]


def test_every_agent_of_the_configuration_has_a_task_here() -> None:
    assert set(TASKS) == set(AGENTS)


@pytest.mark.parametrize("agent", AGENTS)
async def test_every_route_is_served_under_both_prefixes(agent: str, client: Open) -> None:
    path, body = TASKS[agent]
    async with client(Settings(agent=agent)) as http:
        for prefix in ("", f"/{agent}"):
            assert (await http.get(f"{prefix}/health")).status_code == 200
            assert (await http.get(f"{prefix}/ready")).status_code == 200
            answer = await http.post(f"{prefix}{path}", json=body)
            assert answer.status_code == 200, answer.text
            assert answer.json()


async def test_an_agent_does_not_answer_for_another(client: Open) -> None:
    async with client(Settings(agent="supervisor")) as http:
        assert (await http.get("/threat-hunter/health")).status_code == 404


async def test_health_tells_which_build_runs_where(client: Open) -> None:
    settings = Settings(
        agent="supervisor", environment="staging", version="0123456789ab", digest="sha256:ff"
    )
    async with client(settings) as http:
        first, second = [(await http.get("/health")).json() for _ in range(2)]
    assert 0 <= first.pop("uptime") <= second["uptime"] < 60
    assert first == {
        "status": "healthy",
        "agent": "supervisor",
        "version": "0123456789ab",
        "digest": "sha256:ff",
        "environment": "staging",
    }


@pytest.mark.parametrize(
    ("agent", "body"),
    [
        ("supervisor", {"goal": "   "}),
        ("supervisor", {"goal": "x", "unknown": 1}),
        ("threat-hunter", {"entries": [{"eventName": "Login", "sourceIPAddress": "1.2.3.4"}]}),
        ("incident-response", {"type": "malware", "severity": "high", "impact_usd": -1}),
        ("incident-response", {"type": "malware", "severity": "high", "critical_sistem": True}),
        ("service-orchestration", {"title": "x", "client": "diamond"}),
        ("financial-intelligence", {"licences": [{"product": "x", "utilisation": 2}]}),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused(
    agent: str, body: dict[str, Any], client: Open
) -> None:
    async with client(Settings(agent=agent)) as http:
        assert (await http.post(TASKS[agent][0], json=body)).status_code == 422


async def test_an_incident_without_a_time_happens_now(client: Open) -> None:
    async with client(Settings(agent="incident-response")) as http:
        answer = await http.post("/assess", json={"type": "intrusion", "severity": "low"})
    assert answer.json()["strategy"] == "lock_out"


async def test_an_error_nobody_expected_is_a_500_that_says_nothing_and_a_log_line_that_does(
    logged: Callable[[], list[dict[str, Any]]],
) -> None:
    routes = APIRouter()

    @routes.get("/broken")
    async def broken() -> None:
        raise RuntimeError("boom")

    app = create(Settings(agent="supervisor"), routes)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://agent"
    ) as http:
        answer = await http.get("/broken")
    assert answer.status_code == 500
    assert "boom" not in answer.text
    [line] = [line for line in logged() if line["message"] == "GET /broken 500"]
    assert line["level"] == "error"
    assert line["request_id"] == answer.headers["x-request-id"]
    assert "RuntimeError: boom" in line["exception"]
