import importlib
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from agents.common.app import MAX_BYTES, create
from agents.common.errors import MAX_ERRORS
from agents.common.settings import Settings
from tests.unit.agents.house import PERSON, House

ROOT = Path(__file__).parents[4]
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


@pytest.mark.parametrize("agent", AGENTS)
async def test_every_agent_of_the_configuration_serves_every_route_under_both_prefixes(
    agent: str, client: Open
) -> None:
    router = importlib.import_module(f"agents.{agent.replace('-', '_')}.api").router
    own = [route for route in router.routes if isinstance(route, APIRoute)]
    assert own, "an agent does something"
    async with client(Settings(agent=agent)) as http:
        for prefix in ("", f"/{agent}"):
            assert (await http.get(f"{prefix}/health")).status_code == 200
            assert (await http.get(f"{prefix}/ready")).status_code == 200
            for route in own:
                for method in route.methods or ():
                    answer = await http.request(method, f"{prefix}{route.path}")
                    # Without a body or an id it may be refused, but it must have been found.
                    assert answer.status_code < 500, answer.text
                    assert answer.status_code not in (401, 405), answer.text
                    assert '"detail": "Not Found"' not in answer.text


@pytest.mark.parametrize("agent", TASKS)
async def test_an_agent_does_its_task_under_both_prefixes(agent: str, client: Open) -> None:
    path, body = TASKS[agent]
    async with client(Settings(agent=agent)) as http:
        short = await http.post(path, json=body)
        long = await http.post(f"/{agent}{path}", json=body)
    assert (short.status_code, long.status_code) == (200, 200), short.text
    assert long.json().keys() == short.json().keys() != set()


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
async def test_an_invalid_request_is_refused(
    agent: str, body: dict[str, Any], client: Open
) -> None:
    async with client(Settings(agent=agent)) as http:
        assert (await http.post(TASKS[agent][0], json=body)).status_code == 422


async def test_a_body_that_would_fill_the_memory_is_refused(client: Open) -> None:
    # Spaces are JSON, so nothing but the size is wrong with it.
    body = b'{"goal": "patch"}'.ljust(MAX_BYTES + 1)
    headers = {"Content-Type": "application/json"}
    async with client(Settings(agent="supervisor")) as http:
        for prefix in ("", "/supervisor"):
            most = await http.post(f"{prefix}/goals", content=body[:-1], headers=headers)
            more = await http.post(f"{prefix}/goals", content=body, headers=headers)
            assert (most.status_code, more.status_code) == (200, 413)


@pytest.mark.parametrize(
    ("agent", "head", "item", "tail"),
    [
        ("threat-hunter", '{"entries": [', "{}", "]}"),
        ("threat-hunter", '{"entries": [], "malicious_addresses": [', "1", "]}"),
        ("incident-response", '{"type": "malware", "severity": "low", "systems": [', "1", "]}"),
        ("financial-intelligence", '{"clients": [', "{}", "]}"),
        ("financial-intelligence", '{"licences": [', "{}", "]}"),
        ("financial-intelligence", '{"processes": [', "{}", "]}"),
    ],
)
async def test_a_list_full_of_errors_is_refused_at_the_first(
    agent: str, head: str, item: str, tail: str, client: Open
) -> None:
    # 10,000 bad items; at 1 kB an error a full body of them once took 1.4 GB and 21 s.
    body = head + ",".join([item] * 10_000) + tail
    async with client(Settings(agent=agent)) as http:
        answer = await http.post(
            TASKS[agent][0], content=body, headers={"Content-Type": "application/json"}
        )
    assert answer.status_code == 422
    # Of the first item every missing field is told, of the others nothing.
    assert {error["loc"][2] for error in answer.json()["errors"]} == {0}


async def test_of_many_errors_only_the_first_are_returned(client: Open) -> None:
    unknown = {f"k{number}": 0 for number in range(1000)}
    async with client(Settings(agent="supervisor")) as http:
        answer = await http.post("/goals", json=unknown)
    errors = answer.json()["errors"]
    assert answer.status_code == 422
    assert len(errors) == MAX_ERRORS
    assert all(error["loc"][0] == "body" and error["msg"] for error in errors)


async def test_an_incident_without_a_time_happens_now(client: Open) -> None:
    async with client(Settings(agent="incident-response")) as http:
        answer = await http.post("/assess", json={"type": "intrusion", "severity": "low"})
    assert answer.json()["strategy"] == "lock_out"


async def test_an_unexpected_error_is_a_500_without_details_and_a_log_line_with_them(
    logged: Callable[[], list[dict[str, Any]]],
) -> None:
    routes = APIRouter()

    @routes.get("/broken")
    async def broken() -> None:
        raise RuntimeError("boom")

    runtime = House().runtime("supervisor")
    app = create(runtime.settings, routes, runtime=runtime)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://agent", headers=PERSON
    ) as http:
        answer = await http.get("/broken")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "boom" not in answer.text
    [line] = [line for line in logged() if line["message"] == "GET /broken 500"]
    assert line["level"] == "error"
    assert line["request_id"] == answer.headers["x-request-id"]
    assert line["caller"] == "person:alice"
    assert "RuntimeError: boom" in line["exception"]


@pytest.mark.parametrize("agent", AGENTS)
async def test_the_openapi_document_lists_each_path_once(agent: str, client: Open) -> None:
    async with client(Settings(agent=agent)) as http:
        document = (await http.get(f"/{agent}/openapi.json")).json()
    assert document["info"]["title"] == f"ACSO {agent}"
    assert {"/health", "/ready", TASKS[agent][0]} <= document["paths"].keys()
    assert not [path for path in document["paths"] if path.startswith(f"/{agent}")]


async def test_figures_are_not_published_by_the_load_balancer(client: Open) -> None:
    async with client(Settings(agent="supervisor", version="v7")) as http:
        await http.post("/goals", json={"goal": "patch"})
        figures = await http.get("/metrics", headers={"Authorization": ""})
        assert (await http.get("/supervisor/metrics")).status_code == 404
    assert (
        'acso_requests_total{agent="supervisor",method="POST",route="/goals",status="200",'
        'version="v1"} 1.0' in figures.text
    )
