"""Going back by hand, and what status tells."""

import dataclasses

import pytest

from ci import release
from ci.errors import NothingToRollBackError, ReleaseFailedError, UsageError
from ci.release import OutcomeKind
from ci.release.observe.status import drift
from ci.release.records.release import Kind, State
from ci.release.records.table import history
from tests.unit.release.conftest import COUNT, Pipeline, all_of, versions


async def test_a_rollback_returns_to_the_release_before_and_is_recorded(
    pipeline: Pipeline,
) -> None:
    first = await pipeline.deploy("good")
    await pipeline.deploy("good-2")
    outcome = await pipeline.rollback()
    assert outcome.kind is OutcomeKind.RESTORED
    assert outcome.back_on == first.release
    assert versions(pipeline.world) == all_of("good")
    record = (await history(pipeline.context)).releases[0]
    assert (record.kind, record.state, record.origin) == (
        Kind.ROLLBACK,
        State.SUCCEEDED,
        first.release,
    )


async def test_a_rollback_registers_no_new_revision(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    await pipeline.deploy("good", supervisor="good-2")
    before = len(pipeline.world.calls)
    await pipeline.rollback()
    calls = pipeline.world.calls[before:]
    assert "register_task_definition" not in calls
    assert calls.count("update_service") == 1


async def test_a_named_release_is_returned_to(pipeline: Pipeline) -> None:
    first = await pipeline.deploy("good")
    await pipeline.deploy("good-2")
    await pipeline.deploy("good-3")
    await pipeline.rollback(first.release)
    assert versions(pipeline.world) == all_of("good")


async def test_two_rollbacks_go_back_twice(pipeline: Pipeline) -> None:
    for name in ("good", "good-2", "good-3"):
        await pipeline.deploy(name)
    await pipeline.rollback()
    assert versions(pipeline.world) == all_of("good-2")
    await pipeline.rollback()
    assert versions(pipeline.world) == all_of("good")
    with pytest.raises(NothingToRollBackError):
        await pipeline.rollback()
    assert versions(pipeline.world) == all_of("good")


async def test_without_an_earlier_release_nothing_is_touched(pipeline: Pipeline) -> None:
    with pytest.raises(NothingToRollBackError, match="no validated release"):
        await pipeline.rollback()
    await pipeline.deploy("good")
    with pytest.raises(NothingToRollBackError):
        await pipeline.rollback()
    assert versions(pipeline.world) == all_of("good")


async def test_a_failed_release_is_no_rollback_target(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    failed = await pipeline.deploy("good", supervisor="crash")
    with pytest.raises(UsageError, match="did not succeed"):
        await pipeline.rollback(failed.release)


async def test_a_rollback_that_does_not_validate_is_taken_back(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    await pipeline.deploy("good-2")
    outcome = await pipeline.rollback(valid=False)
    assert outcome.kind is OutcomeKind.ROLLED_BACK
    assert versions(pipeline.world) == all_of("good-2")


async def test_status_shows_release_version_and_health_of_every_service(
    pipeline: Pipeline,
) -> None:
    await pipeline.deploy("good")
    found = await release.status(pipeline.context)
    assert found.ok
    assert found.release == "2026.11.24-1"
    assert {item["version"] for item in found.data()["services"]} == {"good"}
    assert found.text().count(" s  -         healthy") == COUNT


async def test_status_shows_changes_made_by_hand(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    pipeline.world.update_service("acso-staging-supervisor", desiredCount=0)
    pipeline.world.delete_service("", "acso-staging-threat-hunter", force=True)
    found = await release.status(pipeline.context)
    assert not found.ok
    told = {item.agent: item.drift for item in found.services if item.drift}
    assert told == {
        "supervisor": "0 tasks desired; the record lists 1",
        "threat-hunter": "missing; the record lists revision 1",
    }


async def test_status_of_an_empty_environment(pipeline: Pipeline) -> None:
    found = await release.status(pipeline.context)
    assert "no validated release yet" in found.text()
    assert {item.health for item in found.services} == {"missing"}


async def test_another_revision_than_the_record_lists_is_drift(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    current = (await history(pipeline.context)).current
    assert current is not None
    service, run = next(iter(current.after.items()))
    other = dataclasses.replace(run, revision="arn:f:9")
    assert drift(current, service, run) == ""
    assert drift(current, service, other) == "revision 9; the record lists 1"
    assert drift(None, service, run) == "not part of a validated release"
    assert drift(None, service, None) == ""


async def test_a_rollback_says_where_to_and_what_it_moved(pipeline: Pipeline) -> None:
    first = await pipeline.deploy("good")
    await pipeline.deploy("good", supervisor="good-2")
    outcome = await pipeline.rollback()
    assert f"rolling back to release {first.release}" in pipeline.lines
    assert outcome.summary() == (
        "staging is back on release 2026.11.24-1 (as release 2026.11.24-3): 1 of 5 services moved"
    )
    assert outcome.notes == ("supervisor: good-2 (revision 2) -> good (revision 1)",)


async def test_a_rollback_that_moves_nothing_makes_no_release(pipeline: Pipeline) -> None:
    first = await pipeline.deploy("good")
    outcome = await pipeline.rollback(first.release)
    assert outcome.kind is OutcomeKind.NOTHING_TO_DO
    assert outcome.notes == (f"release {first.release} runs already; no release was made",)
    assert len((await history(pipeline.context)).releases) == 1
    pipeline.world.update_service("acso-staging-supervisor", desiredCount=0)
    assert (await pipeline.rollback(first.release)).kind is OutcomeKind.RESTORED


async def test_status_shows_a_service_that_is_in_no_file(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    copy = pipeline.world.services["acso-staging-supervisor"].request
    request = {**copy, "serviceName": "acso-staging-billing", "clientToken": "other"}
    pipeline.world.create_service(**request)
    found = await release.status(pipeline.context)
    other = found.services[-1]
    assert not found.ok
    assert (other.agent, other.service) == ("billing", "acso-staging-billing")
    assert "billing: in no acso.toml known here, and in no release on record" in found.text()


async def test_a_failed_validation_is_reported_once(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    outcome = await pipeline.deploy("good-2", valid=False)
    with pytest.raises(ReleaseFailedError) as failed:
        outcome.raise_for_failure()
    assert str(failed.value).splitlines() == [
        "validation failed: the moon is in the wrong quarter",
        f"  all {COUNT} services are back on release 2026.11.24-1 (validated)",
    ]
