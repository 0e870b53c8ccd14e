"""Whatever is sent to any path of any agent is answered, and never with an error of the agent."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.agents.house import PERSON, House

ROOT = Path(__file__).parents[4]
AGENTS = tuple(tomllib.loads((ROOT / "acso.toml").read_text())["agents"])
METHODS = ("get", "post", "put", "delete", "patch")


async def described(agent: str) -> dict[str, Any]:
    async with House().client(agent) as http:
        found: dict[str, Any] = (await http.get("/openapi.json")).json()
    return found


def properties(document: dict[str, Any]) -> list[str]:
    """Return the names of all fields in an agent's document."""
    schemas = document["components"]["schemas"].values()
    return sorted({name for schema in schemas for name in schema.get("properties", {})})


def constants(document: Any) -> set[str]:
    """Return the values of all enumerations in a document: they lead further than any text."""
    if isinstance(document, dict):
        own = {item for item in document.get("enum", ()) if isinstance(item, str)}
        return own.union(*(constants(value) for value in document.values()))
    if isinstance(document, list):
        return set().union(*(constants(value) for value in document))
    return set()


def bodies(document: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """Return JSON with the agent's own names and values in it, and bytes that are none."""
    leaves = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(max_size=20),
        st.sampled_from(["2026-11-24T12:00:00Z", "\ud800", "x" * 300, *constants(document)]),
    )
    values = st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(st.sampled_from(properties(document)), inner, max_size=6),
        ),
        max_leaves=12,
    )
    lists = st.lists(values, max_size=4)
    whole = st.dictionaries(st.sampled_from(properties(document)), values | lists, max_size=8)
    return st.one_of(st.binary(max_size=40), (whole | lists).map(json.dumps).map(str.encode))


@pytest.mark.parametrize("agent", AGENTS)
def test_no_request_is_an_error_of_the_agent(agent: str) -> None:
    document = anyio.run(described, agent)
    routes = [
        (method, path)
        for path, item in document["paths"].items()
        for method in item
        if method in METHODS
    ]
    assert len(routes) > 5
    http = House().client(agent)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        route=st.sampled_from(routes),
        id_=st.text(max_size=20),
        query=st.dictionaries(
            st.sampled_from(("limit", "after", "format", "month", "currency")), st.text(max_size=9)
        ),
        body=bodies(document),
        kind=st.sampled_from(("application/json", "text/csv", "application/x-ndjson", "x")),
    )
    def check(
        route: tuple[str, str], id_: str, query: dict[str, str], body: bytes, kind: str
    ) -> None:
        async def send() -> None:
            method, template = route
            path = re.sub(r"{\w+}", quote(id_, safe=""), template)
            headers = {**PERSON, "Content-Type": kind}
            answer = await http.request(method, path, params=query, content=body, headers=headers)
            assert answer.status_code < 500, answer.text
            if answer.status_code >= 400:
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.json()["status"] == answer.status_code

        anyio.run(send)

    check()


@pytest.mark.parametrize("agent", AGENTS)
async def test_every_path_needs_a_token_before_anything_else(agent: str) -> None:
    document = await described(agent)
    async with House().client(agent, Authorization="Bearer wrong") as http:
        for path, item in document["paths"].items():
            for method in item:
                answer = await http.request(method, path, content=b"{")
                expected = 200 if path in ("/health", "/ready", "/metrics") else 401
                assert answer.status_code == expected, path


WRONG_TYPES: dict[tuple[str, str], dict[str, Any]] = {
    ("incident-response", "/assess"): {"type": "malware", "severity": "low", "systems": []},
    ("threat-hunter", "/hunts"): {},
    ("supervisor", "/workflows"): {"goal": "Monday"},
    ("service-orchestration", "/triage"): {"title": "a", "description": "b"},
}


@pytest.mark.parametrize(
    ("agent", "path", "wrong"),
    [
        ("incident-response", "/assess", {"impact_usd": False}),
        ("incident-response", "/assess", {"time": 0}),
        ("incident-response", "/assess", {"critical_system": "yes"}),
        ("threat-hunter", "/hunts", {"hours": "24"}),
        ("supervisor", "/workflows", {"approval_seconds": True}),
        ("service-orchestration", "/triage", {"urgency": "1"}),
    ],
)
async def test_a_value_of_another_type_is_refused_and_not_converted(
    agent: str, path: str, wrong: dict[str, Any]
) -> None:
    body = WRONG_TYPES[agent, path]
    async with House().client(agent) as http:
        assert (await http.post(path, json=body | wrong)).status_code == 422
        assert (await http.post(path, json=body)).is_success


async def test_a_method_that_a_path_has_not_is_answered_with_all_that_it_has() -> None:
    async with House().client("supervisor") as http:
        answer = await http.request("OPTIONS", "/workflows")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, POST"


@pytest.mark.parametrize("agent", AGENTS)
async def test_the_document_says_that_a_token_is_needed_and_what_an_error_is(agent: str) -> None:
    document = await described(agent)
    assert document["servers"] == [{"url": f"/{agent}"}]
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert ("security" in operation) == (path not in {"/health", "/ready"}), path
            assert "application/problem+json" in operation["responses"]["default"]["content"]
