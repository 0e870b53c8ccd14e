"""What a rollback may be told to go to: a release, a revision, a digest; only validated ones."""

import dataclasses

import pytest

from ci.errors import TargetGoneError, UsageError
from ci.release import OutcomeKind
from ci.release.model import Request, ServiceRevision
from ci.release.records.release import Entry, History, Kind, Release, State
from ci.release.records.target import find_target
from tests.unit.release.conftest import Pipeline, all_of, versions

ARN = "arn:aws:ecs:us-east-1:123456789012:task-definition/"
A, B, C = ("a" * 64, "b" * 64, "abc" + "c" * 61)


def made(number: int, state: State, *runs: tuple[str, int, str]) -> Release:
    """Return a release of some services: each its family, revision and digest."""
    return Release(
        id=f"2026.11.24-{number}",
        environment="staging",
        kind=Kind.DEPLOY,
        state=state,
        entries=tuple(
            Entry(
                agent=family,
                service=family,
                action="change",
                after=ServiceRevision(
                    revision=f"{ARN}{family}:{revision}",
                    version="v",
                    digest=f"sha256:{digest}",
                    desired=1,
                ),
            )
            for family, revision, digest in runs
        ),
        request=Request(),
        created_at="",
        origin=f"2026.11.24-{number}",
    )


HISTORY = History(
    releases=(
        made(5, State.SUCCEEDED, ("one", 4, A), ("two", 2, B)),
        made(4, State.ROLLED_BACK, ("one", 3, C), ("two", 2, B)),
        made(3, State.SUCCEEDED, ("one", 2, B), ("two", 2, B)),
        made(2, State.SUCCEEDED, ("one", 2, B), ("two", 1, A)),
        made(1, State.SUCCEEDED, ("one", 1, A), ("two", 1, A)),
    )
)


@pytest.mark.parametrize(
    ("to", "number"),
    [
        (None, 3),
        ("2026.11.24-2", 2),
        ("one:4", 5),
        ("one:2", 3),  # the newest that holds it
        ("two:1", 2),
        (f"{ARN}one:1", 1),
        (f"sha256:{A}", 5),
        (f"sha256:{B[:12]}", 5),
    ],
)
def test_a_release_is_found_by_id_revision_or_digest(to: str | None, number: int) -> None:
    target = find_target(HISTORY, to)
    assert target is not None
    assert target.id == f"2026.11.24-{number}"


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("one:3", "revision one:3 is only in release 2026.11.24-4, which did not succeed"),
        (f"sha256:{C}", "which did not succeed (rolled back)"),
        ("one:9", "revision one:9 is in no release on record"),
        ("three:1", "is in no release on record"),
        (f"sha256:{'0' * 64}", "is in no release on record"),
        ("2026.11.24-4", "did not succeed"),
        ("2026.11.24-9", "no validated release 2026.11.24-9 is on record"),
        ("12", "'12' is not a release, revision or digest"),
        ("sha256:abc", "is not a release, revision or digest"),
        ("latest", "is not a release, revision or digest"),
    ],
)
def test_an_invalid_rollback_target_is_refused_with_the_reason(to: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        find_target(HISTORY, to)
    assert said in str(raised.value)
    assert raised.value.hint


def test_the_start_of_two_digests_is_refused_with_both() -> None:
    near = made(6, State.SUCCEEDED, ("one", 5, "a" * 63 + "b"))
    history = dataclasses.replace(HISTORY, releases=(near, *HISTORY.releases))
    with pytest.raises(UsageError, match="2 digests on record start with it") as raised:
        find_target(history, "sha256:aaaaaaaa")
    assert f"sha256:{A}" in raised.value.hint


async def test_a_revision_takes_all_services_of_its_release_back(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    await pipeline.deploy("good", supervisor="good-2")
    await pipeline.deploy("good-3")
    outcome = await pipeline.rollback("acso-staging-supervisor:2")
    assert outcome.kind is OutcomeKind.RESTORED
    assert versions(pipeline.world) == all_of("good", supervisor="good-2")


async def test_a_deregistered_target_is_refused_before_anything_changes(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    await pipeline.deploy("good-2")
    gone = [arn for arn in pipeline.world.definitions if arn.endswith(("hunter:1", "visor:1"))]
    for revision in gone:
        pipeline.world.deregister_task_definition(revision)
    before = len(pipeline.world.calls)
    with pytest.raises(TargetGoneError) as raised:
        await pipeline.rollback()
    assert "acso-staging-supervisor:1" in str(raised.value)
    assert "acso-staging-threat-hunter:1 is deregistered" in str(raised.value)
    assert "check out abc and deploy it" in raised.value.hint
    calls = set(pipeline.world.calls[before:])
    assert not calls & {"update_service", "create_service", "register_task_definition"}
    assert versions(pipeline.world) == all_of("good-2")


async def test_a_rollback_to_the_current_release_restores_what_differs(pipeline: Pipeline) -> None:
    first = await pipeline.deploy("good")
    pipeline.world.update_service("acso-staging-supervisor", desiredCount=0)
    await pipeline.rollback(first.release)
    assert versions(pipeline.world) == all_of("good")
    assert any("the current one: services that differ" in x for x in pipeline.lines)
