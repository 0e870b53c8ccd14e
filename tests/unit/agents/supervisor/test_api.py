"""The supervisor's routes, and its tasks at agents that answer as a test says."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from agents.common.app import create
from agents.common.callers.calls import Outgoing, Reply
from agents.common.runtime import Runtime
from agents.supervisor import api
from agents.supervisor.driver import Driver
from tests.unit.agents.house import AGENT, PERSON, House

TASKS: list[dict[str, Any]] = [
    {"id": "open", "operation": "ticket", "description": "Patch the web servers"},
    {"id": "do", "operation": "deliver", "description": "Deploy", "depends_on": ["open"]},
]


@dataclass
class Desk:
    """A supervisor whose calls of other agents get given answers, 200 and `{}` if none is given."""

    house: House = field(default_factory=House)
    answers: dict[str, Reply] = field(default_factory=dict)
    sent: list[Outgoing] = field(default_factory=list)

    def __post_init__(self) -> None:
        found = self.house.runtime("supervisor")
        self.peers = dataclasses.replace(found.peers, transport=self._answer)

    @property
    def runtime(self) -> Runtime:
        return dataclasses.replace(self.house.runtime("supervisor"), peers=self.peers)

    async def _answer(self, request: Outgoing) -> Reply:
        self.sent.append(request)
        path = request.url.removeprefix("http://balancer")
        return self.answers.get(path, Reply(status=200, body={}))

    def client(self, **headers: str) -> httpx.AsyncClient:
        app = create(self.runtime.settings, api.router, runtime=self.runtime)
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://agent", headers=headers or PERSON
        )

    async def work(self) -> None:
        await Driver(runtime=self.runtime).sweep()


async def started(http: httpx.AsyncClient, **body: Any) -> Any:
    answer = await http.post("/workflows", json={"goal": "Monday", "tasks": TASKS} | body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_tasks_are_done_in_order_each_with_a_key_of_its_own() -> None:
    desk = Desk()
    async with desk.client() as http:
        workflow = await started(http)
        await desk.work()
        found = (await http.get(f"/workflows/{workflow['id']}")).json()
        listed = (await http.get("/workflows?limit=1")).json()
    assert found["status"] == "completed"
    assert listed["items"] == [found]
    assert [request.url.rpartition("/")[2] for request in desk.sent] == ["tickets", "tasks"]
    assert [request.headers["Idempotency-Key"] for request in desk.sent] == [
        f"{workflow['id']}.open",
        f"{workflow['id']}.do",
    ]


async def test_a_refused_task_fails_and_what_depends_on_it_is_not_done() -> None:
    desk = Desk(
        answers={"/service-orchestration/tickets": Reply(status=422, body={"detail": "no"})}
    )
    async with desk.client() as http:
        workflow = await started(http)
        await desk.work()
        found = (await http.get(f"/workflows/{workflow['id']}")).json()
    assert found["status"] == "failed"
    assert found["tasks"][0]["error"] == "service-orchestration answered 422: no"
    assert len(desk.sent) == 1


async def test_a_task_over_the_risk_threshold_waits_for_a_person() -> None:
    desk = Desk()
    risky = [{"id": "do", "operation": "deliver", "description": "Deploy", "risk": 0.9}]
    async with desk.client() as http, desk.client(**AGENT) as agent:
        workflow = await started(http, tasks=risky)
        await desk.work()
        assert not desk.sent
        (approval,) = (await http.get("/approvals")).json()["items"]
        path = f"/approvals/{approval['id']}"
        assert approval["subject"] == f"task do of workflow {workflow['id']}"
        assert (await agent.post(path, json={"decision": "approve"})).status_code == 403
        assert (await http.post(path, json={"decision": "approve"})).json()["decided_by"] == "alice"
        assert (await http.post(path, json={"decision": "approve"})).status_code == 200
        assert (await http.post(path, json={"decision": "deny"})).status_code == 409
        await desk.work()
        assert (await http.get(path)).json()["status"] == "approved"
        found = (await http.get(f"/workflows/{workflow['id']}")).json()
    assert (found["status"], len(desk.sent)) == ("completed", 1)


@pytest.mark.parametrize("goal", ["Cut the costs", "Look into the breach", "Open a ticket"])
async def test_a_goal_becomes_the_tasks_of_the_rules(goal: str) -> None:
    desk = Desk()
    async with desk.client() as http:
        plan = (await http.post("/goals", json={"goal": goal})).json()
        workflow = await started(http, goal=goal, tasks=[])
    assert workflow["planned_by"] == "rules"
    assert [task["description"] for task in plan["tasks"]]
    assert workflow["tasks"][0]["description"].endswith(goal)


async def test_what_does_not_exist_is_not_found() -> None:
    async with Desk().client() as http:
        for path in ("/workflows/nobody", "/approvals/nobody"):
            assert (await http.get(path)).status_code == 404
        decided = await http.post("/approvals/nobody", json={"decision": "deny"})
    assert decided.status_code == 404


@pytest.mark.parametrize(
    "tasks",
    [
        [TASKS[0], TASKS[0]],
        [TASKS[1]],
        [{**TASKS[0], "operation": "close-incident"}],
    ],
)
async def test_tasks_that_cannot_be_are_refused(tasks: list[Any]) -> None:
    async with Desk().client() as http:
        answer = await http.post("/workflows", json={"goal": "Monday", "tasks": tasks})
    assert answer.status_code == 422
