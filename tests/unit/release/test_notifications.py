"""What people are told of a release, and when."""

import pytest

from ci.release import Notification, OnCancel
from tests.unit.release.conftest import COUNT, Pipeline
from tests.unit.release.fakes.acts import StopAt


@pytest.fixture
def told() -> list[Notification]:
    return []


@pytest.fixture
def telling(pipeline: Pipeline, told: list[Notification]) -> Pipeline:
    return pipeline.behaving(notify=told.append)


def events(told: list[Notification]) -> list[str]:
    return [notice.event for notice in told]


async def test_start_and_success_are_notified_with_what_was_released(
    telling: Pipeline, told: list[Notification]
) -> None:
    await telling.deploy("good", supervisor="good-2")
    assert events(told) == ["started", "deployed"]
    assert {(notice.environment, notice.release) for notice in told} == {
        ("staging", "2026.11.24-1")
    }
    begin, end = (notice.text for notice in told)
    assert begin.startswith(
        "started: release 2026.11.24-1 of commit abc updates supervisor, threat"
    )
    assert begin.endswith("(by tests)")
    count = f"{COUNT} of {COUNT} services rolled"
    assert end == f"success: release 2026.11.24-1 is live in staging: {count}"


async def test_a_failure_is_notified_with_its_reason_before_and_after_the_rollback(
    telling: Pipeline, told: list[Notification]
) -> None:
    await telling.deploy("good")
    told.clear()
    await telling.deploy("good-2", threat_hunter="crash")
    assert events(told) == ["started", "rolling_back", "rolled_back"]
    reason = "agent threat-hunter does not stay up (revision 2, 1 stopped task)"
    assert told[1].text == (
        f"rolling back: release 2026.11.24-2: {reason}\nto release 2026.11.24-1"
    )
    assert told[2].text.splitlines() == [
        f"rolled back: release 2026.11.24-2 failed in staging: {reason}",
        f"all {COUNT} services are back on release 2026.11.24-1 (validated)",
    ]


async def test_notifications_contain_no_task_logs(
    telling: Pipeline, told: list[Notification]
) -> None:
    outcome = await telling.deploy("crash")
    logged = {line for failure in outcome.failures for line in failure.log}
    assert logged
    assert not [notice for notice in told if any(line in notice.text for line in logged)]


async def test_a_rollback_is_notified_with_its_target(
    telling: Pipeline, told: list[Notification]
) -> None:
    await telling.deploy("good")
    await telling.deploy("good-2")
    told.clear()
    await telling.rollback()
    assert events(told) == ["started", "restored"]
    assert told[0].text.endswith("rolls back to release 2026.11.24-1 (by tests)")
    assert told[1].text == (
        "success: staging is back on release 2026.11.24-1 (as release 2026.11.24-3): "
        "5 of 5 services moved"
    )


async def test_an_interrupted_release_is_notified(
    telling: Pipeline, told: list[Notification]
) -> None:
    await telling.deploy("good")
    told.clear()
    await telling.behaving(stop=StopAt(0.8)).deploy("good-2")
    assert events(told) == ["started", "interrupted"]
    await telling.rollback()
    told.clear()
    stop = StopAt(0.8)
    await telling.behaving(stop=stop, on_cancel=OnCancel.ROLLBACK).deploy("good-3")
    assert events(told) == ["started", "rolling_back", "withdrawn"]


async def test_a_deploy_without_changes_sends_no_notification(
    telling: Pipeline, told: list[Notification]
) -> None:
    await telling.deploy("good")
    told.clear()
    await telling.deploy("good")
    assert told == []


async def test_an_undone_first_release_is_notified(
    telling: Pipeline, told: list[Notification]
) -> None:
    await telling.behaving(stop=StopAt(0.8)).deploy("good")
    told.clear()
    await telling.rollback()
    assert events(told) == ["undone"]
