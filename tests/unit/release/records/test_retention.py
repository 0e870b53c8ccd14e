"""What is let go of the past, and what never is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.aws import records
from ci.aws.records import MEASURED, Document
from ci.errors import AwsError
from ci.release import OutcomeKind
from ci.release.records.release import History, Release, State, key
from ci.release.records.retention import revisions_to_remove, rollback_revisions
from ci.release.records.table import history
from tests.unit.release.conftest import Pipeline, all_of, versions
from tests.unit.release.records.test_release import made

HUNTER = "acso-staging-threat-hunter"
REVISIONS = [f"arn/f:{number}" for number in range(12, 0, -1)]


def active(pipeline: Pipeline, family: str = HUNTER) -> list[int]:
    """Return the numbers of a family's revisions that are not deregistered."""
    found = pipeline.world.list_task_definitions(family, "ACTIVE", "DESC")
    return sorted(int(arn.rpartition(":")[2]) for arn in found)


@given(keep=st.integers(1, 15), wanted=st.sets(st.sampled_from(REVISIONS)))
def test_only_the_newest_revisions_and_those_in_use_stay(keep: int, wanted: set[str]) -> None:
    gone = revisions_to_remove(REVISIONS, keep, wanted)
    assert set(REVISIONS) - set(gone) == set(REVISIONS[:keep]) | wanted
    assert gone == [item for item in reversed(REVISIONS) if item in gone]  # oldest first


async def test_revisions_of_failed_releases_are_deregistered_by_count(pipeline: Pipeline) -> None:
    thrifty = pipeline.within(keep_revisions=2)
    await thrifty.deploy("good")
    for number in range(3):
        await thrifty.deploy("good", threat_hunter=f"crash-{number}")
    assert active(pipeline) == [1, 2, 3, 4]  # failures tidy nothing
    await thrifty.deploy("good", threat_hunter="good-2")
    assert active(pipeline) == [1, 4, 5]  # the rollback's target, and the two newest


async def test_what_a_kept_release_lists_can_be_returned_to_however_old(pipeline: Pipeline) -> None:
    thrifty = pipeline.within(keep_revisions=1)
    first = await thrifty.deploy("good")
    for number in range(2, 6):
        await thrifty.deploy("good", threat_hunter=f"good-{number}")
    assert active(pipeline) == [1, 2, 3, 4, 5]
    outcome = await thrifty.rollback(first.release)
    assert outcome.kind is OutcomeKind.RESTORED


async def test_records_beyond_those_to_keep_go_and_their_revisions_with_them(
    pipeline: Pipeline,
) -> None:
    thrifty = pipeline.within(keep_revisions=1, keep_releases=2)
    aws, table = pipeline.context.aws, pipeline.context.outputs.releases_table
    for number in range(1, 6):
        outcome = await thrifty.deploy("good", threat_hunter=f"good-{number}")
        measured = {"kind": MEASURED, "owner": MEASURED, "key": key(outcome.release)}
        await records.put(aws, table, Document(**measured, state="", body={}))
    kept = [item.id for item in (await history(pipeline.context)).releases]
    assert kept == ["2026.11.24-5", "2026.11.24-4"]
    assert active(pipeline) == [4, 5]
    found = await records.documents(aws, table, MEASURED)
    assert [item.key for item in found] == [key(id_) for id_ in kept]
    assert (await thrifty.rollback()).kind is OutcomeKind.RESTORED
    assert versions(pipeline.world) == all_of("good", threat_hunter="good-4")


async def test_the_current_release_and_the_rollback_target_stay_despite_many_failures(
    pipeline: Pipeline,
) -> None:
    thrifty = pipeline.within(keep_revisions=1, keep_releases=2)
    await thrifty.deploy("good")
    await thrifty.deploy("good", threat_hunter="good-2")
    for _ in range(4):
        await thrifty.deploy("good", threat_hunter="crash")
    await thrifty.deploy("good", threat_hunter="good-3")
    kept = [item.id for item in (await history(pipeline.context)).releases]
    assert kept == ["2026.11.24-7", "2026.11.24-6", "2026.11.24-2"]
    assert (await thrifty.rollback()).kind is OutcomeKind.RESTORED
    assert versions(pipeline.world) == all_of("good", threat_hunter="good-2")


async def test_what_a_task_or_a_deployment_runs_is_never_deregistered(pipeline: Pipeline) -> None:
    thrifty = pipeline.within(keep_revisions=1, keep_releases=2)
    for number in range(1, 4):
        await thrifty.deploy("good", threat_hunter=f"good-{number}")
    old = next(task for task in pipeline.world.tasks if task.revision.endswith(f"{HUNTER}:2"))
    old.stopped = None  # a task of its own, such as one for a single job
    old.service = "nobody's"
    await thrifty.deploy("good", threat_hunter="good-4")
    await thrifty.deploy("good", threat_hunter="good-5")
    assert active(pipeline) == [2, 4, 5]


def test_releases_hold_what_they_could_return_to_and_failed_ones_hold_nothing() -> None:
    def of(*releases: Release) -> set[str]:
        return rollback_revisions(History(releases=releases))

    assert of(made(2)) == {"arn:f:2"}  # what is validated is gone back to, not what was before it
    assert of(made(2, State.DEPLOYING)) == {"arn:f:1", "arn:f:2"}
    assert of(made(2, State.ROLLED_BACK), made(5, State.FAILED)) == set()


@pytest.mark.parametrize("operation", ["list_task_definitions", "deregister_task_definition"])
async def test_a_failed_retention_is_a_note_not_a_failure(
    pipeline: Pipeline, operation: str
) -> None:
    thrifty = pipeline.within(keep_revisions=1, keep_releases=2)
    for number in range(1, 4):
        await thrifty.deploy("good", threat_hunter=f"good-{number}")
    pipeline.world.errors[operation] = AwsError(f"ecs {operation}: AccessDeniedException")
    outcome = await thrifty.deploy("good", threat_hunter="good-4")
    assert outcome.kind is OutcomeKind.DEPLOYED
    assert "could not be removed" in outcome.notes[-1]
    assert "AccessDeniedException" in outcome.text()
