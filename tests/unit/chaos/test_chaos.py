"""Experiments: what is a finding, and that a fault is recorded first and undone in any case."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import anyio
import pytest

from ci import chaos, release
from ci.aws import records
from ci.aws.records import Document
from ci.chaos import conducting, experiments, faults, recording
from ci.chaos.faults import DeniedActions, Fault, StoppedTasks, UnreachableAgent
from ci.chaos.probes import Look, Probes, outage, violations
from ci.errors import AwsError, ChaosError, UsageError
from ci.pipeline import experimenting
from ci.release.records import lock
from tests.unit.release.conftest import context as release_context
from tests.unit.release.fakes.clock import VirtualLoop
from tests.unit.release.fakes.world import World
from validation import Report, Status

AGENT = "supervisor"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """In these tests waiting takes no time."""
    return "asyncio", {"loop_factory": VirtualLoop}


@dataclass(kw_only=True)
class Site:
    """An environment that is well but for its faults, and what happened, in order."""

    rows: dict[str, Document] = field(default_factory=dict)
    happened: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)  # by probe: what is wrong
    effect: str = f"{AGENT} ready"
    denied: str = ""
    stuck: bool = False  # whether the undo has no effect
    meanwhile: Callable[[], Awaitable[None]] | None = None

    def __post_init__(self) -> None:
        Made.site = self

    async def look(self) -> Look:
        names = [f"{agent} ready" for agent in (AGENT, "threat-hunter")]
        problems = {name: self.broken.get(name, "") for name in names}
        return Look(at=anyio.current_time(), problems=problems)


@dataclass(frozen=True, kw_only=True)
class Made(Fault):
    """A fault of the tests."""

    kind: ClassVar[str] = "made"
    site: ClassVar[Site]

    async def make(self, context: release.ReleaseContext) -> None:  # noqa: ARG002
        assert self.site.rows, "it is on record before"
        if self.site.denied:
            raise AwsError("not allowed", action=self.site.denied)
        self.site.happened.append("made")
        if self.site.effect:
            self.site.broken[self.site.effect] = "HTTP 503"
        if self.site.meanwhile:
            await self.site.meanwhile()

    async def undo(self, context: release.ReleaseContext) -> None:  # noqa: ARG002
        await anyio.lowlevel.checkpoint()
        self.site.happened.append("undone")
        if not self.site.stuck:
            self.site.broken.clear()

    async def left(self, context: release.ReleaseContext) -> str:  # noqa: ARG002
        return "it is still there" if self.site.stuck else ""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    found = Site()

    async def put(_: Any, __: str, document: Document) -> bool:
        found.rows[document.key] = document
        found.happened.append("recorded")
        return True

    async def remove(_: Any, __: str, document: Document) -> bool:
        found.happened.append("removed")
        return found.rows.pop(document.key, None) is not None

    async def documents(_: Any, __: str, kind: str) -> list[Document]:
        return [item for item in found.rows.values() if item.kind == kind]

    async def under_lock(_: Any, __: str, ___: Any, work: Any, **____: Any) -> Any:
        return await work(None)

    async def running(*_: Any) -> list[str]:
        return ["t1"]

    async def account(_: Any) -> str:
        return "123456789012"

    async def fault(_: release.ReleaseContext, agent: str) -> Fault:
        return Made(agent=agent)

    for function in (put, remove, documents):
        monkeypatch.setattr(records, function.__name__, function)
    monkeypatch.setattr(lock, "under_lock", under_lock)
    monkeypatch.setattr(conducting, "running", running)
    monkeypatch.setattr(Probes, "look", found.look)
    monkeypatch.setattr("ci.aws.session.Aws.account", account)
    monkeypatch.setattr(faults, "KINDS", {**faults.KINDS, "made": Made})
    tested = replace(experiments.EXPERIMENTS["deny-dynamodb"], fault=fault)
    monkeypatch.setattr(conducting, "EXPERIMENTS", {**experiments.EXPERIMENTS, "made": tested})
    return found


def environment() -> release.ReleaseContext:
    return release_context(World())


async def conducted(name: str = "made", lines: list[str] | None = None) -> Report:
    plan = chaos.Plan(experiments=(name,), agent=AGENT, seconds=5)
    said = [] if lines is None else lines
    return await chaos.run(environment(), plan, said.append)


async def test_a_fault_is_recorded_made_undone_and_its_record_removed(site: Site) -> None:
    (result,) = (await conducted()).results
    assert result.status is Status.PASS, result.finding
    assert site.happened == ["recorded", "made", "undone", "removed"]
    assert result.finding.observed.startswith(f"{AGENT} did not answer for 5.")
    assert result.finding.observed.endswith(" s; all is as before")
    assert result.finding.evidence[0].read > 5


async def test_an_agent_that_should_hold_and_does_not_fails(site: Site) -> None:
    async def spreads() -> None:
        site.broken["threat-hunter ready"] = "HTTP 500"

    site.meanwhile = spreads
    (result,) = (await conducted()).results
    assert result.status is Status.FAIL
    assert result.finding.observed == "threat-hunter ready: HTTP 500"
    assert site.happened[-2:] == ["undone", "removed"]


async def test_what_is_not_well_before_is_not_broken_further(site: Site) -> None:
    site.broken["threat-hunter ready"] = "HTTP 500"
    (result,) = (await conducted()).results
    assert result.status is Status.NOT_EXAMINED
    assert result.finding.observed == "not steady before: threat-hunter ready: HTTP 500"
    assert site.happened == []


async def test_a_fault_without_effect_is_not_examined_and_undone(site: Site) -> None:
    site.effect = ""
    (result,) = (await conducted()).results
    assert result.status is Status.NOT_EXAMINED
    assert result.finding.observed == "the fault had no effect within 90 s"
    assert (site.happened[-2:], site.rows) == (["undone", "removed"], {})


async def test_a_fault_that_aws_refuses_names_the_permission_and_leaves_nothing(site: Site) -> None:
    site.denied = "iam:PutRolePolicy"
    (result,) = (await conducted()).results
    assert result.status is Status.NOT_EXAMINED
    assert result.attempts == 1
    assert result.finding.observed == "not allowed"
    assert site.happened == ["recorded", "removed"]


async def test_a_fault_that_stays_fails_and_stays_on_record(site: Site) -> None:
    site.stuck = True
    (result,) = (await conducted()).results
    assert result.status is Status.FAIL
    assert "could not be undone: it is still there" in result.finding.observed
    assert "./acso chaos --env staging --undo" in result.finding.observed
    assert list(site.rows) == [f"made/{AGENT}"]
    site.stuck = False
    assert await chaos.undo_left(environment(), print) == [Made(agent=AGENT)]
    assert site.rows == {}


async def test_ctrl_c_undoes_the_fault(site: Site) -> None:
    async def interrupt() -> None:
        group.cancel_scope.cancel()
        await anyio.sleep_forever()

    site.meanwhile = interrupt
    async with anyio.create_task_group() as group:
        group.start_soon(conducted)
    assert site.happened == ["recorded", "made", "undone", "removed"]


async def test_faults_of_a_killed_process_are_undone_before_anything_else(site: Site) -> None:
    await recording.record(environment(), Made(agent="threat-hunter"))
    lines: list[str] = []
    (result,) = (await conducted(lines=lines)).results
    assert result.status is Status.PASS
    assert site.happened[:3] == ["recorded", "undone", "removed"]
    assert lines[0] == "left by a process that was stopped: made of threat-hunter"


async def test_what_cannot_be_undone_stops_the_next_command(site: Site) -> None:
    await recording.record(environment(), Made(agent=AGENT))
    site.stuck = True
    with pytest.raises(ChaosError, match="could not be undone"):
        await chaos.undo_left(environment(), print)
    assert site.rows


@pytest.mark.usefixtures("site")
async def test_without_a_record_nothing_is_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "under_lock", None)
    assert await chaos.undo_left(environment(), print) == []
    done = await experimenting.undone(environment())
    assert done.text() == "undone in staging: nothing, no fault is on record"


@pytest.mark.usefixtures("site")
async def test_what_has_no_mechanism_is_not_examined() -> None:
    (result,) = (await conducted("throttle-dynamodb")).results
    assert result.status is Status.NOT_EXAMINED
    assert "deny-dynamodb is the nearest" in result.finding.observed


@pytest.mark.parametrize(
    "fault",
    [
        StoppedTasks(agent=AGENT, tasks=("t1", "t2")),
        DeniedActions(agent=AGENT, role="r", actions=("dynamodb:*",)),
        UnreachableAgent(agent=AGENT),
    ],
)
def test_another_process_reads_a_fault_as_it_was_recorded(fault: Fault) -> None:
    assert faults.parsed(json.loads(json.dumps(fault.body()))) == fault


def looks(*failing: str) -> list[Look]:
    """Return looks at which these probes fail, each for a text such as "a b" (none: ".")."""
    names = ("a", "b")
    return [
        Look(at=number, problems={name: "bad" if name in text else "" for name in names})
        for number, text in enumerate(failing)
    ]


def test_one_lost_answer_is_no_finding_and_two_in_a_row_are() -> None:
    assert violations(looks(".", "a", ".", "a", "b"), frozenset()) == {}
    assert violations(looks(".", "a", "ab", "."), frozenset()) == {"a": "bad"}
    assert violations(looks("a", "a", "ab", "b"), frozenset("a")) == {"b": "bad"}
    assert outage(looks(".", "a", ".", "a", "."), "a") == 2.5
    assert outage(looks(".", "b"), "a") == 0.0


def test_with_two_tasks_an_agent_answers_without_one_of_them() -> None:
    one = experiments.EXPERIMENTS["stop-task"]
    assert one.may_fail(AGENT, tasks=2) == {f"{AGENT} tasks"}
    assert f"{AGENT} health" in one.may_fail(AGENT, tasks=1)
    all_ = experiments.EXPERIMENTS["stop-agent"]
    assert f"{AGENT} health" in all_.may_fail(AGENT, tasks=2)


def test_production_is_broken_only_by_name() -> None:
    with pytest.raises(UsageError) as raised:
        experimenting.require_consent("production", given=False)
    assert raised.value.hint == "if you mean it: --yes-production"
    experimenting.require_consent("production", given=True)
    experimenting.require_consent("staging", given=False)


def test_a_plan_has_known_experiments_and_an_agent() -> None:
    plan = experimenting.planned(environment(), "", None, 10)
    assert plan.experiments == tuple(experiments.EXPERIMENTS)
    assert plan.agent == environment().config.agents[0].name
    with pytest.raises(UsageError) as raised:
        experimenting.planned(environment(), "stop-tsk", None, 10)
    assert raised.value.hint == "did you mean 'stop-task'?"
    with pytest.raises(UsageError):
        experimenting.planned(environment(), "stop-task", "nobody", 10)
