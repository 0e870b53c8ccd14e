"""A process killed or stopped at any call leaves what the next deploy or rollback can finish."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from ci import release
from ci.errors import LockedError
from ci.release import OutcomeKind
from ci.release.records import lock
from ci.release.records.release import FINAL_STATES, State
from ci.release.records.table import history
from tests.unit.release.conftest import Pipeline, all_of, images, validation, versions
from tests.unit.release.fakes.world import Killed

Work = Callable[[Pipeline], Awaitable[Any]]
MOST_CALLS = 2000
#: A kill at each call takes half a minute; at one in seven it finds the same mistakes.
STEPS = [7, pytest.param(1, marks=pytest.mark.matrix)]


async def kill(pipeline: Pipeline, work: Work, *, at: int) -> bool:
    """Run work in a process of its own, killed at its nth call; tell whether that happened."""
    try:
        await work(pipeline.another(dies_at=at))
    except Killed:
        return True
    except BaseExceptionGroup as group:
        if group.subgroup(Killed) is None:
            raise
        return True
    return False


@dataclass(frozen=True, kw_only=True)
class Killer:
    """Kills work at one call after the other, each time in a world of its own."""

    new: Callable[[], Pipeline]
    step: int

    async def ends(
        self, prepare: Work, work: Work, after: Work
    ) -> list[tuple[release.Outcome, Pipeline]]:
        """Return how what comes after the killed work ended, and where."""
        ends: list[tuple[release.Outcome, Pipeline]] = []
        for at in range(0, MOST_CALLS, self.step):
            pipeline = self.new()
            await prepare(pipeline)
            if not await kill(pipeline, work, at=at):
                return ends
            ends.append((await after(pipeline.another()), pipeline))
        raise AssertionError("the work does not end")


@pytest.fixture(params=STEPS)
def killer(new: Callable[[], Pipeline], request: pytest.FixtureRequest) -> Killer:
    """Kills at one call in seven; at each in the long matrix."""
    return Killer(new=new, step=request.param)


async def nothing(pipeline: Pipeline) -> None:
    """Prepare nothing."""


async def settled(pipeline: Pipeline) -> dict[str, str]:
    """Return what runs, after checking that the records are whole and the lock is free."""
    releases = (await history(pipeline.context)).releases
    assert all(item.state in FINAL_STATES for item in releases)
    assert await lock.current(pipeline.context) is None
    return versions(pipeline.world)


async def test_after_a_killed_deploy_the_next_deploy_finishes(killer: Killer) -> None:
    ends = await killer.ends(
        lambda p: p.deploy("good"),
        lambda p: p.deploy("good-2"),
        lambda p: p.deploy("good-2"),
    )
    assert len(ends) > 10
    for outcome, pipeline in ends:
        assert outcome.ok
        assert await settled(pipeline) == all_of("good-2")
        current = (await history(pipeline.context)).current
        assert current is not None
        assert {run.version for run in current.after.values()} == {"good-2"}


async def test_after_a_killed_deploy_a_rollback_returns_to_the_validated_release(
    killer: Killer,
) -> None:
    async def prepare(pipeline: Pipeline) -> None:
        await pipeline.deploy("good")
        await pipeline.deploy("good-1")

    ends = await killer.ends(prepare, lambda p: p.deploy("good-2"), lambda p: p.rollback())
    for _, pipeline in ends:
        found = await settled(pipeline)
        # Killed before it was recorded (or after its end), the release before is the one to leave.
        assert found in (all_of("good"), all_of("good-1"))
        current = (await history(pipeline.context)).current
        assert current is not None
        assert {s: run.version for s, run in current.after.items()} == {
            f"acso-staging-{agent}": version for agent, version in found.items()
        }


async def test_after_a_killed_first_deploy_deploy_and_rollback_both_finish(killer: Killer) -> None:
    for outcome, pipeline in await killer.ends(
        nothing, lambda p: p.deploy("good"), lambda p: p.deploy("good")
    ):
        assert outcome.ok
        assert await settled(pipeline) == all_of("good")


async def test_after_a_killed_rollback_the_next_deploy_finishes(
    killer: Killer,
) -> None:
    for outcome, pipeline in await killer.ends(
        lambda p: p.deploy("good"),
        lambda p: p.deploy("good-2", threat_hunter="crash"),
        lambda p: p.deploy("good"),
    ):
        assert outcome.ok
        assert await settled(pipeline) == all_of("good")


async def test_a_failure_after_a_killed_deploy_returns_to_the_validated_release(
    pipeline: Pipeline,
) -> None:
    await pipeline.deploy("good")
    assert await kill(pipeline, lambda p: p.deploy("good-2"), at=25)
    outcome = await pipeline.another().deploy("good-3", supervisor="crash")
    assert outcome.kind is OutcomeKind.ROLLED_BACK
    assert await settled(pipeline) == all_of("good")


async def test_a_rollback_after_a_killed_first_deploy_removes_what_it_made(
    pipeline: Pipeline,
) -> None:
    assert await kill(pipeline, lambda p: p.deploy("good"), at=25)
    outcome = await pipeline.another().rollback()
    assert outcome.kind is OutcomeKind.UNDONE
    assert await settled(pipeline) == {}


async def test_a_dead_process_of_this_host_is_taken_over_at_once(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pipeline.deploy("good")
    assert await kill(pipeline, lambda p: p.deploy("good-2"), at=25)
    monkeypatch.setattr(lock, "holder_is_dead", lambda _: True)
    before = anyio.current_time()
    other = pipeline.another()
    await other.deploy("good-2")
    assert anyio.current_time() - before < lock.LEASE_SECONDS
    assert any("that process is dead" in line for line in other.lines)


async def test_status_describes_an_unfinished_release(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pipeline.deploy("good")
    assert await kill(pipeline, lambda p: p.deploy("good-2"), at=40)
    monkeypatch.setattr(lock, "holder_is_dead", lambda _: True)
    found = await release.status(pipeline.context)
    assert "2026.11.24-2 is unfinished" in found.text()
    assert "`deploy` or `rollback` takes it over" in found.text()


async def test_an_interrupted_deploy_is_recorded_and_resumed(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    with anyio.move_on_after(1.0) as scope:
        await pipeline.deploy("good-2")
    assert scope.cancelled_caught
    record = (await history(pipeline.context)).releases[0]
    assert record.state is State.INTERRUPTED
    assert await lock.current(pipeline.context) is None
    outcome = await pipeline.another().deploy("good-2")
    assert outcome.kind is OutcomeKind.DEPLOYED
    assert "2026.11.24-2 stopped while interrupted" in outcome.notes[0]
    assert await settled(pipeline) == all_of("good-2")


async def test_an_interrupt_does_not_end_a_rollback(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    with anyio.move_on_after(3.0):  # past the crash, within the way back
        await pipeline.deploy("good-2", threat_hunter="crash")
    assert (await history(pipeline.context)).releases[0].state is State.ROLLED_BACK
    assert await settled(pipeline) == all_of("good")


async def test_a_process_that_lost_its_lease_writes_nothing_more(pipeline: Pipeline) -> None:
    """A laptop that slept for an hour must not write into its successor's release."""
    await pipeline.deploy("good")
    late = pipeline.another()

    async def validate(_: release.ReleaseContext) -> release.Report:
        # While this process sleeps, its lease runs out and another takes over.
        with anyio.CancelScope(shield=True):
            pipeline.world.items.pop(("lock", "lock"))
            await pipeline.another().deploy("good-3")
        return await validation(True)(late.context)

    with pytest.raises(LockedError, match="over"):
        await release.deploy(late.context, images("good-2"), release.Request(), validate, print)
    assert await settled(pipeline) == all_of("good-3")
