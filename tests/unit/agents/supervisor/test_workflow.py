"""The state machine of workflows under crashes, lost messages, repetitions and skewed clocks."""

import contextlib
import random
from collections import Counter
from datetime import timedelta
from typing import Any, Literal

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.common.approvals import approvals
from agents.common.callers.auth import Caller
from agents.common.callers.calls import Outgoing, Reply
from agents.common.errors import ProblemError
from agents.common.idempotency import Keyed, create_once
from agents.common.runtime import Runtime
from agents.common.store.memory import MemoryTable
from agents.common.store.state import Collection, Stored
from agents.supervisor import api
from agents.supervisor import workflow as machine
from agents.supervisor.api import Decision, NewWorkflow, background, view
from agents.supervisor.driver import Driver
from agents.supervisor.logic import MAX_SUGGESTIONS, Suggestion, refine
from agents.supervisor.state import FINAL, Active, Task, Workflow, active, workflows
from tests.unit.agents.house import START, House, ManualClock

IDS = ("a", "b", "c", "d", "e")
TASKS = st.lists(
    st.tuples(
        st.sets(st.sampled_from(IDS), max_size=2),
        st.sampled_from((0.0, 0.79, 0.8, 1.0)),
    ),
    min_size=1,
    max_size=5,
)
#: What happens next: a copy works, time passes, a person decides.
EVENTS = st.lists(
    st.one_of(
        st.integers(0, 2),
        st.floats(0.1, 60).map(lambda seconds: ("wait", seconds)),
        st.sampled_from((("decide", "approve"), ("decide", "deny"))),
    ),
    max_size=25,
)


class Effect(Stored):
    key: str


class Crash(BaseException):
    """The process ends here, whatever it was doing."""


class Agents:
    """Other agents that do each key once, behind a network that loses and repeats."""

    def __init__(self, table: MemoryTable, clock: ManualClock, chance: random.Random) -> None:
        self.table, self.clock, self.chance = table, clock, chance
        self.effects: Counter[str] = Counter()
        self.calm = False

    async def __call__(self, request: Outgoing) -> Reply:
        key = request.headers["Idempotency-Key"]
        before, after = self.chance.random(), self.chance.random()
        if not self.calm and before < 0.3:
            raise Crash if before < 0.1 else ConnectionResetError("lost")
        for _ in range(1 if self.calm else self.chance.choice((1, 1, 2))):
            await self._do(key)
        if not self.calm and after < 0.3:
            raise Crash if after < 0.1 else TimeoutError("late")
        return Reply(status=201, body={})

    async def _do(self, key: str) -> None:
        effects = Collection(
            table=self.table, clock=self.clock, agent="x", kind="effect", model=Effect
        )
        keyed = Keyed(caller="agent:agent", operation="POST", key=key, content="")
        _, created = await create_once(effects, keyed, key, Effect(key=key))
        self.effects[key] += created


def stored(tasks: list[tuple[set[str], float]]) -> Workflow:
    return Workflow(
        id="w",
        goal="g",
        caller="person:alice",
        created=START,
        deadline=START + timedelta(hours=1),
        approval_seconds=120,
        planned_by="caller",
        tasks=tuple(
            Task(
                id=IDS[place],
                operation="ticket",
                risk=risk,
                depends_on=tuple(sorted(before & set(IDS[:place]))),
            )
            for place, (before, risk) in enumerate(tasks)
        ),
    )


async def created(parts: Runtime, workflow: Workflow) -> None:
    await parts.table.write(
        [
            workflows(parts).creation(workflow.id, workflow),
            active(parts).creation(workflow.id, Active(since=START)),
        ]
    )


def copies(seed: int) -> tuple[list[Runtime], Agents, list[ManualClock]]:
    """Return the parts of three copies, whose clocks differ by up to 20 seconds."""
    clocks = [ManualClock(START + timedelta(seconds=skew)) for skew in (0, 20, -20)]
    table = MemoryTable(clocks[0])
    agents = Agents(table, clocks[0], random.Random(seed))  # noqa: S311 - a repeatable one
    found = []
    for clock in clocks:
        parts = House(clock=clock, table=table).runtime("supervisor")
        parts.peers.transport = agents
        found.append(parts)
    return found, agents, clocks


async def sweep(parts: Runtime) -> None:
    """Work as a new process does, which may end at any request."""
    try:
        await Driver(runtime=parts).sweep()
    except* Crash:
        pass


async def decide(parts: Runtime, decision: Literal["approve", "deny"]) -> None:
    """Decide what is pending, as a person does; too late is refused."""
    for item in (await approvals(parts.table, parts.clock).page()).items:
        if item.status == "pending":
            with contextlib.suppress(ProblemError):
                await api.decide(
                    item.id, Decision(decision=decision), Caller(name="alice", role="person"), parts
                )


async def happen(event: Any, parts: list[Runtime], clocks: list[ManualClock]) -> None:
    if isinstance(event, int):
        await sweep(parts[event])
    elif event[0] == "wait":
        for clock in clocks:
            clock.advance(event[1])
    else:
        await decide(parts[0], event[1])


async def check(task: Task, effects: Counter[str], parts: Runtime) -> None:
    """Check a task of an ended workflow against what the agents did."""
    done = effects[f"w.{task.id}"]
    assert task.status in FINAL
    assert done <= 1
    if task.status == "completed":
        assert done == 1
    if task.status in ("denied", "expired", "skipped"):
        assert done == 0
    if done:
        assert all(effects[f"w.{before}"] == 1 for before in task.depends_on)
    if done and task.risk >= 0.8:
        approval = await approvals(parts.table, parts.clock).get(task.approval)
        assert approval is not None
        assert approval.value.status == "approved"


@settings(max_examples=60, deadline=None)
@given(tasks=TASKS, events=EVENTS, seed=st.integers(0, 2**32))
def test_every_workflow_ends_and_no_task_is_done_twice(
    tasks: list[tuple[set[str], float]], events: list[Any], seed: int
) -> None:
    async def run() -> None:
        parts, agents, clocks = copies(seed)
        await created(parts[0], stored(tasks))
        for event in events:
            await happen(event, parts, clocks)
        agents.calm = True
        # From here on nothing is lost: time alone must end every workflow.
        for _ in range(40):
            await happen(("wait", 50), parts, clocks)
            await sweep(parts[0])
            await sweep(parts[1])
        document = await workflows(parts[0]).get("w")
        assert document is not None
        assert document.value.finished is not None
        assert (await active(parts[0]).page()).items == ()
        for task in document.value.tasks:
            await check(task, agents.effects, parts[0])

    anyio.run(run)


async def test_an_answer_that_never_comes_fails_after_five_attempts() -> None:
    parts, agents, clocks = copies(0)
    await created(parts[0], stored([(set(), 0.0)]))
    agents.calm, agents.chance = True, random.Random(0)  # noqa: S311 - a repeatable one

    async def down(_: Outgoing) -> Reply:
        return Reply(status=503, body={"detail": "busy"})

    parts[0].peers.transport = down
    for _ in range(machine.ATTEMPTS):
        await Driver(runtime=parts[0]).sweep()
        clocks[0].advance(60)
    document = await workflows(parts[0]).get("w")
    assert document is not None
    [task] = document.value.tasks
    assert (task.status, task.attempts) == ("failed", machine.ATTEMPTS)
    assert task.error.startswith("service-orchestration")
    await Driver(runtime=parts[0]).sweep()
    document = await workflows(parts[0]).get("w")
    assert document is not None
    assert view(document.value).status == "failed"


async def test_a_task_of_a_process_that_stops_is_handed_back() -> None:
    parts, agents, _ = copies(0)
    await created(parts[0], stored([(set(), 0.0)]))
    agents.calm = True
    asked = anyio.Event()

    async def slow(_: Outgoing) -> Reply:
        asked.set()
        await anyio.sleep(3600)
        raise AssertionError

    parts[1].peers.transport = slow
    async with anyio.create_task_group() as group:
        group.start_soon(background, parts[1])
        await asked.wait()
        group.cancel_scope.cancel()
    document = await workflows(parts[0]).get("w")
    assert document is not None
    assert (document.value.tasks[0].status, document.value.tasks[0].attempts) == ("waiting", 0)
    await Driver(runtime=parts[0]).sweep()  # at once, without waiting for the lease
    assert agents.effects == {"w.a": 1}


async def test_a_workflow_that_cannot_be_continued_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts, agents, _ = copies(0)
    agents.calm = True
    await created(parts[0], stored([(set(), 0.0)]))
    await created(parts[0], stored([(set(), 0.0)]).model_copy(update={"id": "v"}))
    original = machine.settle

    def broken(workflow: Workflow, now: Any) -> Workflow:
        if workflow.id == "v":
            raise KeyError("boom")
        return original(workflow, now)

    monkeypatch.setattr(machine, "settle", broken)
    await Driver(runtime=parts[0]).sweep()
    assert agents.effects == {"w.a": 1}


def test_a_containment_without_an_incident_fails_and_nobody_is_asked() -> None:
    async def run() -> None:
        parts, _, _ = copies(0)
        workflow = stored([(set(), 0.0)])
        odd = workflow.tasks[0].model_copy(update={"operation": "contain"})
        await created(parts[0], workflow.model_copy(update={"tasks": (odd,)}))
        await Driver(runtime=parts[0]).sweep()
        document = await workflows(parts[0]).get("w")
        assert document is not None
        assert document.value.tasks[0].error == "task a needs the id of an incident"
        assert (await approvals(parts[0].table, parts[0].clock).page()).items == ()

    anyio.run(run)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([{"id": "a", "operation": "ticket", "depends_on": ["b"]}], "not a task before it"),
        ([{"id": "a", "operation": "ticket"}] * 2, "two tasks have the id a"),
        ([{"id": "a", "operation": "ticket", "depends_on": ["a"]}], "not a task before it"),
        ([{"id": "a", "operation": "close"}], "Input should be"),
    ],
)
def test_a_workflow_of_impossible_tasks_is_refused(
    tasks: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        NewWorkflow.model_validate({"goal": "g", "tasks": tasks})


SUGGESTIONS = st.lists(
    st.builds(
        Suggestion,
        type=st.sampled_from(("threat-analysis", "incident-response", "service-delivery", "x")),
        description=st.text(max_size=20),
        priority=st.sampled_from(("low", "medium", "critical", "urgent!!")),
    ),
    max_size=15,
)


@given(suggestions=SUGGESTIONS)
def test_a_models_plan_has_known_tasks_only_and_says_what_was_dropped(
    suggestions: list[Suggestion],
) -> None:
    tasks, note = refine("a goal", suggestions)
    seen = suggestions[:MAX_SUGGESTIONS]
    assert len(tasks) <= 2 * MAX_SUGGESTIONS
    assert all(task.priority in ("low", "medium", "high", "critical") for task in tasks)
    assert ("dropped" in note) == (any(s.type == "x" for s in seen) or len(suggestions) > 10)
    operations = [task.operation for task in tasks]
    if "respond" in operations:
        assert "hunt" in operations[: operations.index("respond")]
