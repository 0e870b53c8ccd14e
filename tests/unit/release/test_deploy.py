"""Whole releases against an AWS in memory: every end that a deploy can have."""

import dataclasses
import datetime

import anyio
import pytest

from ci import release
from ci.errors import AwsError, LockedError, ReleaseFailedError, RollbackFailedError
from ci.release import OutcomeKind
from ci.release.records import table
from ci.release.records.release import State
from ci.release.records.table import history
from tests.unit.release.conftest import (
    COUNT,
    ENV,
    REQUEST,
    Pipeline,
    ValidationResult,
    all_of,
    images,
    versions,
)
from tests.unit.release.fakes.clock import EPOCH

KEY = ("release", "2026.11.24-000001")


async def test_a_first_deploy_creates_every_service_and_records_a_validated_release(
    pipeline: Pipeline,
) -> None:
    outcome = await pipeline.deploy("good")
    assert outcome.kind is OutcomeKind.DEPLOYED
    assert versions(pipeline.world) == all_of("good")
    (record,) = (await history(pipeline.context)).releases
    assert record.state is State.SUCCEEDED
    assert [name for name, _ in record.steps] == [
        "planned",
        "deploying",
        "validating",
        "succeeded",
    ]
    assert {run.version for run in record.after.values()} == {"good"}
    assert record.request.commit == "abc"


async def test_supervisor_starts_after_the_agents_that_it_calls(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    created = {task.service: task.created for task in pipeline.world.tasks}
    supervisor = created.pop("acso-staging-supervisor")
    assert all(supervisor > other for other in created.values())


async def test_nothing_changed_registers_nothing_and_writes_no_record(pipeline: Pipeline) -> None:
    first = await pipeline.deploy("good")
    before = len(pipeline.world.calls)
    second = await pipeline.deploy("good")
    assert second.kind is OutcomeKind.NOTHING_TO_DO
    assert second.release == first.release
    calls = set(pipeline.world.calls[before:])
    assert not calls & {"register_task_definition", "update_service", "create_service"}
    assert len((await history(pipeline.context)).releases) == 1


async def test_only_the_changed_agent_is_rolled(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    before = len(pipeline.world.calls)
    outcome = await pipeline.deploy("good", threat_hunter="good-2")
    assert outcome.kind is OutcomeKind.DEPLOYED
    calls = pipeline.world.calls[before:]
    assert calls.count("register_task_definition") == calls.count("update_service") == 1
    assert versions(pipeline.world) == all_of("good", threat_hunter="good-2")


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("crash", "does not stay up (revision 2, 1 stopped task)"),
        ("pull", "does not stay up (revision 2, 1 stopped task)"),
        ("sick", "not healthy 30 s after it started"),
        ("liar", "not version liar"),
    ],
)
async def test_a_bad_image_takes_every_service_back(
    pipeline: Pipeline, mode: str, why: str
) -> None:
    await pipeline.deploy("good")
    outcome = await pipeline.deploy("good-2", threat_hunter=mode)
    assert outcome.kind is OutcomeKind.ROLLED_BACK
    assert why in outcome.why
    assert "threat-hunter" in outcome.why
    assert versions(pipeline.world) == all_of("good")
    record = (await history(pipeline.context)).releases[0]
    assert record.state is State.ROLLED_BACK
    assert why in record.why
    with pytest.raises(ReleaseFailedError, match="threat-hunter"):
        outcome.raise_for_failure()


async def test_a_crash_is_reported_with_exit_code_and_last_lines(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    outcome = await pipeline.deploy("good", threat_hunter="crash")
    with pytest.raises(ReleaseFailedError) as raised:
        outcome.raise_for_failure()
    text = str(raised.value)
    assert "exit code 1" in text
    assert "| RuntimeError: boom" in text
    assert f"all {COUNT} services are back on release 2026.11.24-1 (validated)" in text


async def test_a_crash_is_detected_within_five_seconds(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    await pipeline.deploy("good", supervisor="crash")
    record = (await history(pipeline.context)).releases[0]
    crashed = min(t.stopped for t in pipeline.world.tasks if t.mode == "crash" and t.stopped)
    judged = datetime.datetime.fromisoformat(record.at(State.ROLLING_BACK))
    assert judged - EPOCH <= datetime.timedelta(seconds=crashed + 5)


async def test_a_slow_start_within_its_grace_succeeds(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    outcome = await pipeline.deploy("slow")
    assert outcome.kind is OutcomeKind.DEPLOYED


async def test_a_failed_first_deploy_leaves_no_service(pipeline: Pipeline) -> None:
    outcome = await pipeline.deploy("good", incident_response="crash")
    assert outcome.kind is OutcomeKind.REMOVED
    assert versions(pipeline.world) == {}
    assert all(service.status == "INACTIVE" for service in pipeline.world.services.values())
    again = await pipeline.deploy("good")
    assert again.kind is OutcomeKind.DEPLOYED


async def test_a_failed_validation_takes_every_service_back(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    outcome = await pipeline.deploy("good-2", valid=False)
    assert outcome.kind is OutcomeKind.ROLLED_BACK
    assert "the moon" in outcome.why
    assert versions(pipeline.world) == all_of("good")


async def test_a_rollback_that_fails_too_is_its_own_error(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    for revision in list(pipeline.world.definitions):
        pipeline.world.broken_revisions[revision] = "crash"  # what ran before does not start again
    outcome = await pipeline.deploy("good", threat_hunter="crash")
    assert outcome.kind is OutcomeKind.ROLLBACK_FAILED
    with pytest.raises(RollbackFailedError, match="rollback failed too"):
        outcome.raise_for_failure()
    record = (await history(pipeline.context)).releases[0]
    assert record.state is State.ROLLING_BACK  # so that the next deploy or rollback takes it over
    assert "the rollback failed" in record.why


async def test_a_service_deleted_by_hand_is_created_again(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    pipeline.world.delete_service("", "acso-staging-supervisor", force=True)
    outcome = await pipeline.deploy("good")
    assert outcome.kind is OutcomeKind.DEPLOYED
    assert versions(pipeline.world) == all_of("good")


async def test_a_service_scaled_by_hand_is_set_right(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    pipeline.world.update_service("acso-staging-supervisor", desiredCount=0)
    outcome = await pipeline.deploy("good")
    assert outcome.kind is OutcomeKind.DEPLOYED
    assert versions(pipeline.world) == all_of("good")


async def test_an_unchanged_but_unhealthy_environment_is_no_success(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    for task in pipeline.world.tasks:
        task.mode = "sick"
    outcome = await pipeline.deploy("good")
    assert outcome.kind is OutcomeKind.UNHEALTHY
    assert not outcome.ok


async def test_a_refusal_in_the_middle_takes_every_service_back(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    error = AwsError("ecs list_tasks: ExpiredTokenException", code="ExpiredTokenException")
    pipeline.world.errors["list_tasks"] = error
    outcome = await pipeline.deploy("good-2")
    assert outcome.kind is OutcomeKind.ROLLBACK_FAILED  # it cannot be watched either
    pipeline.world.errors.clear()
    assert (await pipeline.deploy("good")).ok
    assert versions(pipeline.world) == all_of("good")


async def test_a_second_process_learns_who_holds_the_lock(pipeline: Pipeline) -> None:
    errors = []

    async def validate(_: release.ReleaseContext) -> ValidationResult:
        with pytest.raises(LockedError) as raised:
            await pipeline.another().deploy("good-2")
        errors.append(str(raised.value))
        return ValidationResult(ok=True)

    outcome = await release.deploy(
        pipeline.context, images("good"), REQUEST, validate, pipeline.lines.append
    )
    assert outcome.kind is OutcomeKind.DEPLOYED
    assert "staging is locked by" in errors[0]
    assert "deploy since 2026-11-24T12:00" in errors[0]


async def test_a_validation_that_does_not_end_is_a_failure_after_its_time(
    pipeline: Pipeline,
) -> None:
    await pipeline.deploy("good")
    began = anyio.current_time()

    async def validate(_: release.ReleaseContext) -> ValidationResult:
        await anyio.sleep_forever()
        raise AssertionError

    outcome = await release.deploy(
        pipeline.context, images("good-2"), REQUEST, validate, pipeline.lines.append
    )
    assert outcome.kind is OutcomeKind.ROLLED_BACK
    assert outcome.why == f"validation has no result after {ENV.validation_timeout} s"
    assert anyio.current_time() - began < 2 * ENV.validation_timeout
    assert versions(pipeline.world) == all_of("good")


async def test_a_service_that_cannot_be_removed_does_not_hide_how_the_others_are(
    pipeline: Pipeline,
) -> None:
    await pipeline.deploy("good")
    lost = "acso-staging-threat-hunter"
    record = (await history(pipeline.context)).releases[0]
    entries = tuple(
        dataclasses.replace(entry, after=None) if entry.service == lost else entry
        for entry in record.entries
    )
    # Before this release, there was no such service: the way back deletes it.
    older = dataclasses.replace(record, entries=entries)
    await table.write(pipeline.context, older, pipeline.world.items[KEY]["owner"]["S"])
    pipeline.world.services.pop(lost)
    pipeline.world.errors["delete_service"] = AwsError("ecs delete_service: no")
    outcome = await pipeline.deploy("good-2", valid=False)
    assert outcome.kind is OutcomeKind.ROLLBACK_FAILED
    assert outcome.way_back == "agent threat-hunter failed: ecs delete_service: no"
    others = {name: v for name, v in versions(pipeline.world).items() if name != "threat-hunter"}
    assert set(others.values()) == {"good"}
    with pytest.raises(RollbackFailedError) as raised:
        outcome.raise_for_failure()
    assert raised.value.hint.startswith("./acso rollback --env staging returns to release ")


async def test_a_rollback_is_proposed_only_if_there_is_something_to_return_to(
    pipeline: Pipeline,
) -> None:
    first = await pipeline.deploy()
    assert first.text().endswith("next: ./acso status --env staging; ./acso logs --env staging")
    assert "./acso rollback" not in (await pipeline.deploy()).text()  # nothing changed
    second = await pipeline.deploy("good-2")
    assert second.text().endswith("; ./acso rollback --env staging")
    assert "./acso rollback" not in (await pipeline.rollback()).text()
