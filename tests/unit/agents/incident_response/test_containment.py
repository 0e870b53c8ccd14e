"""The life of an incident: opened once, contained step by step, undone, reported."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.common.approvals import Approval, approvals
from agents.incident_response import api, containment
from agents.incident_response.execution import execute
from agents.incident_response.logic import Incident as Case
from agents.incident_response.logic import Kind, assess
from agents.incident_response.state import Incident, Step, incidents, intents
from agents.incident_response.targets import RecordIntent
from tests.unit.agents.house import AGENT, START, House

FINDING = {
    "id": "019abc",
    "rule": "failed_login_brute_force",
    "technique": "T1110",
    "threat": "intrusion",
    "severity": "high",
    "source": "203.0.113.9",
    "first": "2026-11-24T12:00:00Z",
    "anything": "else",
}
RISKY = {
    "type": "malware",
    "severity": "critical",
    "systems": ["prod-db", "web-1"],
    "impact_usd": 20_000,
}


async def opened(http: Any, body: dict[str, Any], status: int = 201) -> dict[str, Any]:
    answer = await http.post("/incidents", json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def approved(house: House, incident: str, **changes: Any) -> str:
    """Store an approval as the supervisor does; return its id."""
    assert house.table is not None
    value = Approval(
        id="a1",
        workflow="w",
        task="t",
        subject=f"incident {incident}",
        reason="",
        risk=0.9,
        requested=START,
        deadline=START + timedelta(seconds=300),
        status="approved",
        decided_by="alice",
    ).model_copy(update=changes)
    await approvals(house.table, house.clock).create("a1", value)
    return "a1"


async def test_the_same_finding_twice_is_one_incident() -> None:
    house = House()
    async with house.client("incident-response") as http:
        first = await opened(http, {"finding": FINDING})
        house.clock.advance(60)
        async with house.client("incident-response", **AGENT) as copy:
            again = await opened(copy, {"finding": FINDING}, 200)
        assert again == first
        other = await opened(http, {"finding": {**FINDING, "id": "019abd"}})
        assert other["id"] != first["id"]
        page = (await http.get("/incidents?limit=1")).json()
        assert page["next"]
    assert first["timeline"][0]["who"] == "person:alice"
    assert first["systems"] == ["203.0.113.9"]


@pytest.mark.parametrize("body", [{}, {"finding": FINDING, "report": RISKY}, {"finding": {}}])
async def test_an_incident_has_one_cause(body: dict[str, Any]) -> None:
    async with House().client("incident-response") as http:
        answer = await http.post("/incidents", json=body)
    assert answer.status_code == 422


async def test_a_risky_incident_is_contained_with_its_approval_only() -> None:
    house = House()
    async with house.client("incident-response", **AGENT) as http:
        incident = await opened(http, {"report": RISKY})
        assert incident["approval_required"]
        path = f"/incidents/{incident['id']}/containment"
        refused = await http.post(path, json={})
        assert refused.status_code == 403
        assert refused.json()["detail"] == "the risk is 1: an approval is required"
        id_ = await approved(house, incident["id"])
        answer = await http.post(path, json={"approval": id_})
        assert answer.status_code == 200, answer.text
        contained = answer.json()
        assert contained["status"] == "contained"
        assert {step["status"] for step in contained["steps"]} == {"done"}
        assert len(contained["steps"]) == 6
        # Nothing more happens the second time.
        assert (await http.post(path, json={})).json() == contained
        recorded = (await http.get(f"/incidents/{incident['id']}/intents")).json()["items"]
        assert len(recorded) == 6


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "incident other"},
        {"status": "denied"},
        {"status": "pending"},
        {"status": "expired"},
        {"status": "pending", "deadline": START},
    ],
)
async def test_another_approval_is_none(changes: dict[str, Any]) -> None:
    house = House()
    async with house.client("incident-response", **AGENT) as http:
        incident = await opened(http, {"report": RISKY})
        id_ = await approved(house, incident["id"], **changes)
        path = f"/incidents/{incident['id']}/containment"
        assert (await http.post(path, json={"approval": id_})).status_code == 403
        assert (await http.get(f"/incidents/{incident['id']}")).json()["status"] == "open"


async def test_an_undo_reverts_what_can_be_reverted_and_the_incident_can_be_contained_again() -> (
    None
):
    house = House()
    async with house.client("incident-response") as http:
        incident = await opened(http, {"finding": FINDING})
        base = f"/incidents/{incident['id']}"
        assert (await http.post(f"{base}/undo")).status_code == 409
        assert (await http.post(f"{base}/containment", json={})).json()["status"] == "contained"
        assert (await http.post(f"{base}/undo", headers=AGENT)).status_code == 403
        undone = (await http.post(f"{base}/undo")).json()
        assert undone["status"] == "open"
        # Revoked credentials stay revoked.
        assert [step["status"] for step in undone["steps"]] == ["planned", "done", "planned"]
        items = (await http.get(f"{base}/intents")).json()["items"]
        assert {(item["action"], item["undo"]) for item in items} == {
            ("disable_user_account", False),
            ("revoke_credentials", False),
            ("block_ip", False),
            ("block_ip", True),
            ("disable_user_account", True),
        }
        again = (await http.post(f"{base}/containment", json={})).json()
        assert again["status"] == "contained"
        items = (await http.get(f"{base}/intents")).json()["items"]
        assert len(items) == 7
        lines = [entry["what"] for entry in again["timeline"]]
        assert lines[0].startswith("opened from finding 019abc")
        assert lines[-1] == "contained"
        assert "block_ip on 203.0.113.9: undone" in lines


async def test_people_resolve_incidents_and_agents_do_not() -> None:
    async with House().client("incident-response") as http:
        incident = await opened(http, {"finding": FINDING})
        path = f"/incidents/{incident['id']}/resolution"
        body = {"reason": "a drill"}
        assert (await http.post(path, json=body, headers=AGENT)).status_code == 403
        resolved = (await http.post(path, json=body)).json()
        assert resolved["status"] == "resolved"
        assert resolved["timeline"][-1]["what"] == "resolved: a drill"
        assert (await http.post(path, json=body)).json() == resolved
        assert (await http.post("/incidents/none/resolution", json=body)).status_code == 404


async def test_a_report_does_not_interpret_what_others_wrote() -> None:
    async with House().client("incident-response") as http:
        report = {**RISKY, "systems": ["[x](http://evil)\n# Closed <b>"]}
        incident = await opened(http, {"report": report})
        path = f"/incidents/{incident['id']}/report"
        text = (await http.get(f"{path}?format=markdown")).text
        assert (await http.get(path)).json() == incident
    assert "\\[x\\](http://evil) \\# Closed \\<b\\>" in text
    assert "\n# Closed" not in text


class CrashError(Exception):
    """The process ends."""


class Target(RecordIntent):
    """Records, and fails as it is told to."""

    def __init__(self, house: House, fail: Callable[[int], Exception | None]) -> None:
        parts = house.runtime("incident-response")
        super().__init__(intents(parts), house.clock)
        self.fail, self.calls = fail, 0

    async def execute(self, incident: Incident, step: Step, round_: str, *, undo: bool) -> None:
        self.calls += 1
        error = self.fail(self.calls)
        if isinstance(error, OSError):
            raise error
        await super().execute(incident, step, round_, undo=undo)
        if error is not None:
            raise error


def stored(house: House) -> Incident:
    new = api.NewIncident.model_validate({"finding": FINDING})
    return api._opened(new, "person:alice", house.clock.now())


@given(crashes=st.sets(st.integers(1, 8)))
def test_a_containment_that_is_killed_continues_and_does_nothing_twice(crashes: set[int]) -> None:
    async def run() -> None:
        house = House()
        parts = house.runtime("incident-response")
        incident = stored(house)
        await incidents(parts).create(incident.id, incident)
        target = Target(house, lambda call: CrashError() if call in crashes else None)
        while incident.status != "contained":
            try:
                incident = await execute(parts, target, incident, "agent:agent", "")
            except CrashError:
                document = await incidents(parts).get(incident.id)
                assert document is not None
                incident = document.value
        assert len((await intents(parts).page()).items) == 3
        assert [step.status for step in incident.steps] == ["done"] * 3

    anyio.run(run)


async def test_a_step_that_fails_is_recorded_and_the_incident_is_not_contained() -> None:
    house = House()
    parts = house.runtime("incident-response")
    incident = stored(house)
    await incidents(parts).create(incident.id, incident)
    target = Target(house, lambda call: OSError("no route") if call == 2 else None)
    found = await execute(parts, target, incident, "agent:agent", "")
    assert [step.status for step in found.steps] == ["done", "failed", "done"]
    assert found.status == "containing"
    assert "revoke_credentials on 203.0.113.9: failed, no route" in [
        entry.what for entry in found.timeline
    ]
    again = await execute(parts, target, found, "agent:agent", "")
    assert [step.status for step in again.steps] == ["done"] * 3
    assert again.status == "contained"
    assert "containment goes on: failed steps are tried again" in [
        entry.what for entry in again.timeline
    ]


KINDS: tuple[Kind, ...] = ("malware", "intrusion", "data_exfiltration", "lateral_movement")


@given(kind=st.sampled_from(KINDS), systems=st.lists(st.text(min_size=1), max_size=30))
def test_every_system_gets_every_action_of_the_strategy(kind: Kind, systems: list[str]) -> None:
    found = assess(Case(kind=kind, severity="low", systems=tuple(systems), time=START))
    steps = containment.steps(found, systems)
    assert len({step.id for step in steps}) == len(steps)
    assert len(steps) == len(found.actions) * max(1, min(len(systems), containment.MAX_SYSTEMS))
    assert [step.action for step in steps] == sorted(
        (step.action for step in steps), key=found.actions.index
    )
