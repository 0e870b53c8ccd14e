"""A drill is real work that leaves nothing behind; and what validation asks each agent."""

import copy
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from agents.common.callers.calls import Outgoing
from agents.common.store import drill
from agents.common.store.memory import MemoryTable
from agents.supervisor.driver import Driver
from tests.unit.agents.house import AGENT, PERSON, House
from tests.unit.agents.together.test_scenario import attack

NAME = "validation-1"
DRILL = PERSON | {drill.HEADER: NAME}
ALL = (
    *("supervisor", "threat-hunter", "incident-response"),
    *("service-orchestration", "financial-intelligence"),
)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    yield house
    for client in house._clients.values():
        await client.aclose()


def rows(house: House) -> dict[str, Any]:
    assert isinstance(house.table, MemoryTable)
    return {pk: copy.copy(found) for pk, found in house.table._rows.items() if found}


async def send(house: House, agent: str, method: str, path: str, **more: Any) -> httpx.Response:
    async with house.client(agent, **more.pop("headers", DRILL)) as client:
        return await client.request(method, path, **more)


async def contained(house: House, **headers: Any) -> None:
    """Let an attack be found and contained, and costs and a ticket be stored."""
    source = "198.51.100.7" if headers else "203.0.113.9"  # another attacker than the drill's
    events = [event | {"sourceIPAddress": source} for event in attack()]
    body = {"goal": "Look into the breach", "events": events, "require_approval": True}
    told = {"headers": headers} if headers else {}
    started = await send(house, "supervisor", "POST", "/workflows", json=body, **told)
    assert started.status_code == 201, started.text
    await Driver(runtime=house.runtime("supervisor")).sweep()
    pending = (await send(house, "supervisor", "GET", "/approvals", **told)).json()["items"]
    decision = {"decision": "approve"}
    await send(house, "supervisor", "POST", f"/approvals/{pending[0]['id']}", json=decision, **told)
    await Driver(runtime=house.runtime("supervisor")).sweep()
    ended = await send(house, "supervisor", "GET", f"/workflows/{started.json()['id']}", **told)
    assert ended.json()["status"] == "completed"
    costs = [{"date": "2026-11-24", "service": "x", "cost": 1, "account": source}]
    done = await send(house, "financial-intelligence", "POST", "/costs", json=costs, **told)
    assert done.status_code == 200


async def test_removing_a_drill_leaves_the_table_as_it_was(house: House) -> None:
    await contained(house, **PERSON)
    before = rows(house)
    assert before
    house.clock.advance(3600)
    await contained(house)
    assert len(json.dumps(sorted(rows(house)))) > len(json.dumps(sorted(before)))
    removed = [await send(house, agent, "DELETE", f"/drills/{NAME}") for agent in ALL]
    assert all(answer.json()["removed"] > 0 for answer in removed), [a.text for a in removed]
    left = {pk: list(found) for pk, found in rows(house).items()}
    assert left == {pk: list(found) for pk, found in before.items()}
    again = await send(house, "supervisor", "DELETE", f"/drills/{NAME}")
    assert again.json() == {"removed": 0}


async def test_what_a_drill_stores_expires_within_an_hour_and_nothing_else_does(
    house: House,
) -> None:
    await contained(house, **PERSON)
    real = rows(house)
    house.clock.advance(60)
    await contained(house)
    latest = house.clock.time.timestamp() + drill.LIFETIME.total_seconds()
    for pk, found in rows(house).items():
        for sk, row in found.items():
            if sk not in real.get(pk, {}):
                assert row.expires is not None, (pk, sk)
                assert row.expires <= latest
    for pk, found in real.items():
        for sk, row in found.items():
            assert row.expires is None or row.expires > latest, (pk, sk)


async def test_a_change_of_something_real_in_a_drill_keeps_it_real(house: House) -> None:
    ticket = {"title": "The printer is on fire", "client": "basic"}
    opened = await send(
        house, "service-orchestration", "POST", "/tickets", json=ticket, headers=PERSON
    )
    id_ = opened.json()["id"]
    answered = await send(house, "service-orchestration", "POST", f"/tickets/{id_}/response")
    assert answered.json()["status"] == "answered"
    await send(house, "service-orchestration", "DELETE", f"/drills/{NAME}")
    (row,) = rows(house)["service-orchestration#ticket"].values()
    assert row.expires is None


async def test_agents_may_not_remove_a_drill_and_its_name_must_be_one(house: House) -> None:
    refused = await send(house, "supervisor", "DELETE", f"/drills/{NAME}", headers=AGENT)
    assert refused.status_code == 403
    wrong = PERSON | {drill.HEADER: "a b"}
    assert (await send(house, "supervisor", "GET", "/whoami", headers=wrong)).status_code == 400


@pytest.mark.parametrize("agent", ALL)
async def test_an_agent_says_who_calls_and_reaches_the_others(house: House, agent: str) -> None:
    for headers, role in ((PERSON, "person"), (AGENT, "agent")):
        found = (await send(house, agent, "GET", "/whoami", headers=headers)).json()
        assert found["role"] == role
    for other in ALL:
        found = (await send(house, agent, "GET", f"/peers/{other}")).json()
        assert found == {"agent": other, "name": "agents", "role": "agent"} or found["role"] == (
            "agent"
        )
    assert (await send(house, agent, "GET", "/peers/nobody")).status_code == 404


async def test_a_peer_that_cannot_be_reached_is_said(house: House) -> None:
    def broken(_: Outgoing) -> None:
        raise ConnectionError("no route to host")

    house.before = broken
    answer = await send(house, "supervisor", "GET", "/peers/threat-hunter")
    assert answer.status_code == 424
    assert "no route to host" in answer.json()["detail"]


async def absent(_: dict[str, Any]) -> dict[str, Any]:
    raise PermissionError("AccessDeniedException")


async def present(request: dict[str, Any]) -> dict[str, Any]:
    assert request["inferenceConfig"]["maxTokens"] == 1
    return {"output": {"message": {"content": [{"text": "Yes"}]}}}


@pytest.mark.parametrize(
    ("name", "converse", "status", "detail"),
    [
        (None, present, "not configured", "ACSO_MODEL is not set"),
        ("m", present, "ok", "it answered"),
        ("m", absent, "failed", "the model failed: PermissionError: AccessDeniedException"),
    ],
)
async def test_an_agent_says_whether_its_model_answers(
    name: str | None, converse: Any, status: str, detail: str
) -> None:
    house = House(model_name=name, converse=converse)
    found = (await send(house, "threat-hunter", "GET", "/model")).json()
    assert found == {"model": name, "status": status, "detail": detail}
