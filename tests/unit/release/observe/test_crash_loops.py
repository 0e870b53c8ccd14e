"""A release whose tasks end again and again after its end is noticed by the next look."""

import datetime

import anyio
import pytest

from ci import release
from ci.aws.ecs import Task
from ci.errors import AwsError, NothingToRollBackError, UsageError
from ci.release import OutcomeKind
from ci.release.observe.crash_loops import age_text, failures, recent
from ci.release.records.table import history
from tests.unit.release.conftest import Pipeline, all_of, versions

NOW = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.UTC)


async def looping(pipeline: Pipeline) -> release.Outcome:
    """Deploy a release whose threat-hunter dies every 20 s, and let some minutes pass."""
    outcome = await pipeline.deploy("good", threat_hunter="late")
    assert outcome.kind is OutcomeKind.DEPLOYED
    for _ in range(120):
        await anyio.sleep(1)
        pipeline.world.tick()
    return outcome


async def test_status_says_that_a_service_restarts_and_marks_the_release(
    pipeline: Pipeline,
) -> None:
    first = await pipeline.deploy("good")
    bad = await looping(pipeline)
    found = await release.status(pipeline.context)
    hunter = next(item for item in found.services if item.agent == "threat-hunter")
    assert not found.ok
    assert hunter.restarts >= 3
    assert hunter.age is not None
    assert hunter.age < 25
    assert hunter.health.startswith(f"restarted {hunter.restarts} times in ")
    assert found.notes[0].startswith(f"release {bad.release} crash-loops: threat-hunter restarted")
    assert f"a failure returns to {first.release}" in found.notes[0]
    record = (await history(pipeline.context)).releases[0]
    assert (record.outcome, record.stable) == ("unstable", False)
    again = await release.status(pipeline.context)
    assert again.notes == (f"release {bad.release} is no rollback target: {record.why}",)


async def test_a_failed_deploy_returns_to_the_release_before_the_one_that_crash_loops(
    pipeline: Pipeline,
) -> None:
    first = await pipeline.deploy("good")
    await looping(pipeline)
    outcome = await pipeline.deploy("good-2", supervisor="crash")
    assert outcome.kind is OutcomeKind.ROLLED_BACK
    assert outcome.back_on == first.release
    assert versions(pipeline.world) == all_of("good")
    assert any("crash-loops" in line for line in pipeline.lines)


async def test_a_rollback_leaves_a_crash_loop_and_never_returns_to_it(pipeline: Pipeline) -> None:
    first = await pipeline.deploy("good")
    bad = await looping(pipeline)
    outcome = await pipeline.rollback()
    assert (outcome.kind, outcome.back_on) == (OutcomeKind.RESTORED, first.release)
    with pytest.raises(UsageError, match="crash-looped after its end: threat-hunter"):
        await pipeline.rollback(bad.release)
    with pytest.raises(NothingToRollBackError):
        await pipeline.rollback()


async def test_a_deploy_of_the_same_source_says_that_it_is_unhealthy(pipeline: Pipeline) -> None:
    await looping(pipeline)
    outcome = await pipeline.deploy("good", threat_hunter="late")
    assert outcome.kind is OutcomeKind.UNHEALTHY
    assert "threat-hunter" in outcome.why


async def test_a_mark_that_cannot_be_written_is_a_note(pipeline: Pipeline) -> None:
    await looping(pipeline)
    pipeline.world.errors["put_item"] = AwsError("dynamodb put_item: AccessDenied")
    found = await release.status(pipeline.context)
    assert found.notes[1] == "that could not be recorded: dynamodb put_item: AccessDenied"


def task(**values: object) -> Task:
    told = {"id": "t", "service": "s", "revision": "r", "status": "STOPPED"}
    return Task(**told | {"stop_code": "EssentialContainerExited"} | values)  # type: ignore[arg-type]


def test_only_tasks_of_services_that_failed_count_and_old_ones_are_not_recent() -> None:
    old = task(stopped_at=NOW - datetime.timedelta(minutes=30))
    told = [task(service=""), task(stop_code="UserInitiated"), task(status="RUNNING"), old, task()]
    assert failures(told) == [old, task()]
    assert failures(told, "another") == []
    assert recent([old, task()], NOW) == [task()]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (3e5, "3 d")]
)
def test_an_age_has_one_unit(seconds: float, text: str) -> None:
    assert age_text(seconds) == text
