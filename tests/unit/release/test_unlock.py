"""Waiting for a lock, and breaking one that a dead process left."""

import anyio
import pytest

from ci import release
from ci.aws import records
from ci.aws.records import Lease
from ci.errors import InterruptedReleaseError, LockedError
from ci.release.records import lock
from ci.release.records.lock import HeldLock, under_lock
from tests.unit.json_documents import result
from tests.unit.release.conftest import Pipeline, all_of, versions
from tests.unit.release.fakes.acts import StopAt
from tests.unit.release.fakes.clock import now


async def left_behind(pipeline: Pipeline, *, seconds: float = lock.LEASE_SECONDS) -> Lease:
    """A process elsewhere took the lock and does not renew it."""
    data = {"who": "ann on laptop", "host": "elsewhere", "doing": "deploy", "since": "12:00"}
    lease = Lease(token="ann's", expires=now().timestamp() + seconds, holder=data)
    assert await records.put_lease(pipeline.context.aws, "releases", lease, old=None)
    return lease


async def test_a_second_deploy_waits_for_the_first_and_then_does_its_work(
    pipeline: Pipeline,
) -> None:
    await pipeline.deploy("good")
    second = pipeline.another().behaving(wait=300)
    endings = {}
    async with anyio.create_task_group() as group:

        async def deploy(who: Pipeline, name: str) -> None:
            endings[name] = (await who.deploy(name)).kind

        group.start_soon(deploy, pipeline.within(bake_time=30), "good-2")
        await anyio.sleep(1)
        group.start_soon(deploy, second, "good-3")
    assert list(endings.values()) == [release.OutcomeKind.DEPLOYED] * 2
    assert list(endings) == ["good-2", "good-3"]
    assert versions(pipeline.world) == all_of("good-3")
    assert "waiting up to 300 s" in second.lines[0]
    assert "deploy since 2026-11-24T12:00" in second.lines[0]


async def test_a_wait_ends_with_who_holds_the_lock_and_what_to_do(pipeline: Pipeline) -> None:
    async def work(_: HeldLock) -> float:
        before = anyio.current_time()
        with pytest.raises(LockedError, match="staging is locked by") as raised:
            await pipeline.another().behaving(wait=60).deploy("good")
        assert "--wait SECONDS" in raised.value.hint
        assert "acso unlock --env staging" in raised.value.hint
        return anyio.current_time() - before

    waited = await under_lock(pipeline.context, "test", print, work)
    assert 60 <= waited <= 60 + lock.RENEWAL_SECONDS


async def test_waiting_can_be_stopped(pipeline: Pipeline) -> None:
    async def work(_: HeldLock) -> None:
        with pytest.raises(InterruptedReleaseError, match="before anything was changed"):
            await pipeline.another().behaving(wait=60, stop=StopAt(20)).deploy("good")

    await under_lock(pipeline.context, "test", print, work)


async def test_a_dead_process_s_lock_is_broken_and_reported(pipeline: Pipeline) -> None:
    await left_behind(pipeline, seconds=30)  # its clock was ahead
    began = anyio.current_time()
    broken = await release.unlock(pipeline.context)
    assert anyio.current_time() - began < lock.TAKEOVER_SECONDS + 1
    assert await lock.current(pipeline.context) is None
    assert "broke the lock of staging: ann on laptop, deploy since 12:00" in broken.text()
    result("unlock").validate(broken.data())
    assert (broken.data()["token"], broken.data()["was_alive"]) == ("ann's", False)


async def test_a_live_process_s_lock_is_broken_only_by_force(pipeline: Pipeline) -> None:
    context = pipeline.another().context

    async def work(held: HeldLock) -> None:
        began = anyio.current_time()
        with pytest.raises(LockedError, match="and its holder is alive") as raised:
            await release.unlock(context)
        assert "--wait SECONDS; or --force" in raised.value.hint
        assert anyio.current_time() - began < lock.RENEWAL_SECONDS + 1
        seen = await lock.current(context)
        assert seen is not None
        assert seen.token == held.token
        broken = await release.unlock(context, force=True)
        assert "still alive" in broken.text()
        assert await lock.current(context) is None

    await under_lock(pipeline.context, "test", print, work)


async def test_an_unlocked_environment_is_reported(pipeline: Pipeline) -> None:
    broken = await release.unlock(pipeline.context)
    result("unlock").validate(broken.data())
    assert (broken.text(), broken.data()["broken"]) == ("staging is not locked", False)


async def test_a_lock_renewed_in_the_same_moment_is_not_broken(pipeline: Pipeline) -> None:
    """Its holder was slow, not dead: what was seen is not what would be deleted."""
    aws = pipeline.context.aws
    seen = await left_behind(pipeline, seconds=-5)
    renewed = Lease(token=seen.token, expires=now().timestamp() + 15, holder=seen.holder)
    assert await records.put_lease(aws, "releases", renewed, old=seen)
    assert not await records.break_lease(aws, "releases", seen)
    assert await lock.current(pipeline.context) == renewed


async def test_a_release_whose_lock_was_broken_ends_at_its_next_heartbeat(
    pipeline: Pipeline,
) -> None:
    async def work(_: HeldLock) -> None:
        await release.unlock(pipeline.another().context, force=True)
        await anyio.sleep(60)

    before = anyio.current_time()
    with pytest.raises(LockedError, match="took over the lock of staging"):
        await under_lock(pipeline.context, "test", print, work)
    assert anyio.current_time() - before <= lock.RENEWAL_SECONDS + 1
