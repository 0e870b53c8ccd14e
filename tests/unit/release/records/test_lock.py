"""One release at a time, and a dead holder hinders nobody."""

import dataclasses
import datetime
import itertools
import os
import subprocess
import sys
from typing import Any

import anyio
import pytest

from ci.aws import records
from ci.aws.records import Lease
from ci.errors import AwsError, LockedError
from ci.release.records import lock
from ci.release.records.lock import HeldLock, holder, holder_is_dead, refuse_if_locked, under_lock
from tests.unit.release.conftest import Pipeline
from tests.unit.release.fakes.clock import now


async def test_the_lease_is_renewed_during_work_and_released_after_it(pipeline: Pipeline) -> None:
    ends = []

    async def work(held: HeldLock) -> None:
        for _ in range(3):
            await anyio.sleep(lock.LEASE_SECONDS)
            lease = await lock.current(pipeline.context)
            assert lease is not None
            assert lease.token == held.token
            ends.append(lease.expires - now().timestamp())

    await under_lock(pipeline.context, "test", print, work)
    assert all(left > lock.LEASE_SECONDS - lock.RENEWAL_SECONDS - 1 for left in ends)
    assert await lock.current(pipeline.context) is None


async def test_an_error_of_the_work_comes_out_as_it_is_and_frees_the_lock(
    pipeline: Pipeline,
) -> None:
    async def work(_: HeldLock) -> None:
        raise KeyError("as it is")

    with pytest.raises(KeyError, match="as it is"):
        await under_lock(pipeline.context, "test", print, work)
    assert await lock.current(pipeline.context) is None


async def test_a_live_holder_is_reported_within_one_renewal(pipeline: Pipeline) -> None:
    async def work(_: HeldLock) -> float:
        before = anyio.current_time()
        with pytest.raises(LockedError, match="staging is locked by"):
            await under_lock(pipeline.another().context, "test", print, work)
        return anyio.current_time() - before

    assert await under_lock(pipeline.context, "test", print, work) <= lock.RENEWAL_SECONDS + 1


async def test_the_early_check_refuses_a_live_holder_and_leaves_a_dead_one_s_lock(
    pipeline: Pipeline,
) -> None:
    context = pipeline.another().context

    async def work(_: HeldLock) -> None:
        with pytest.raises(LockedError, match="staging is locked by"):
            await refuse_if_locked(context, print)

    await under_lock(pipeline.context, "test", print, work)
    await refuse_if_locked(context, print)
    left = Lease(
        token="dead", expires=now().timestamp() + lock.LEASE_SECONDS, holder={"who": "ann"}
    )
    assert await records.put_lease(context.aws, "releases", left, old=None)
    await refuse_if_locked(context, print)
    assert await lock.current(context) == left


async def test_a_lease_that_is_not_renewed_is_taken_over(pipeline: Pipeline) -> None:
    data = {"who": "ann on laptop (process 7)", "host": "elsewhere", "since": "12:00"}
    left = Lease(token="dead", expires=now().timestamp() + lock.LEASE_SECONDS, holder=data)
    assert await records.put_lease(pipeline.context.aws, "releases", left, old=None)
    said: list[str] = []

    async def work(_: HeldLock) -> float:
        return anyio.current_time()

    assert await under_lock(pipeline.context, "test", said.append, work) <= lock.LEASE_SECONDS + 3
    assert "locked by ann on laptop" in said[0]
    assert "taking over from ann on laptop" in said[1]


async def test_a_lost_lease_ends_the_work(pipeline: Pipeline) -> None:
    async def work(_: HeldLock) -> None:
        pipeline.world.items.pop(("lock", "lock"))
        await anyio.sleep(60)

    with pytest.raises(LockedError, match="took over the lock of staging"):
        await under_lock(pipeline.context, "test", print, work)


async def test_a_heartbeat_may_fail_but_not_for_longer_than_the_lease(pipeline: Pipeline) -> None:
    async def bears_it(_: HeldLock) -> None:
        pipeline.world.errors["put_item"] = AwsError("dynamodb put_item: throttled")
        await anyio.sleep(lock.RENEWAL_SECONDS + 1)
        pipeline.world.errors.clear()
        await anyio.sleep(60)

    async def gives_up(_: HeldLock) -> None:
        pipeline.world.errors["put_item"] = AwsError("dynamodb put_item: throttled")
        await anyio.sleep(60)

    await under_lock(pipeline.context, "test", print, bears_it)
    with pytest.raises(LockedError, match="could not be renewed"):
        await under_lock(pipeline.context, "test", print, gives_up)


def lose_reply(monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline, *, number: int) -> None:
    """Let one write of the lock succeed whose answer is lost, so that the client repeats it."""
    original, calls = pipeline.world.put_item, itertools.count(1)

    def put_item(**request: Any) -> dict[str, Any]:
        answer = original(**request)
        return original(**request) if next(calls) == number else answer

    monkeypatch.setattr(pipeline.world, "put_item", put_item)


@pytest.mark.parametrize("number", [1, 2])
async def test_the_lost_reply_of_one_s_own_write_loses_no_lock(
    monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline, number: int
) -> None:
    lose_reply(monkeypatch, pipeline, number=number)

    async def work(held: HeldLock) -> None:
        await anyio.sleep(60)
        seen = await lock.current(pipeline.context)
        assert seen is not None
        assert seen.token == held.token

    await under_lock(pipeline.context, "test", print, work)


@pytest.mark.parametrize("skew", [-30, 30])
async def test_a_holder_with_another_clock_keeps_its_lock_and_is_followed_when_dead(
    pipeline: Pipeline, skew: float
) -> None:
    other = pipeline.another()
    clock = dataclasses.replace(
        other.context.clock, now=lambda: now() + datetime.timedelta(seconds=skew)
    )
    context = dataclasses.replace(other.context, clock=clock)

    async def work(_: HeldLock) -> None:
        with pytest.raises(LockedError, match="staging is locked by"):
            await refuse_if_locked(pipeline.context, print)

    await under_lock(context, "test", print, work)
    expires = now().timestamp() + skew + lock.LEASE_SECONDS
    left = Lease(token="dead", expires=expires, holder={"who": "ann"})
    assert await records.put_lease(pipeline.context.aws, "releases", left, old=None)
    began = anyio.current_time()

    async def taken(_: HeldLock) -> float:
        return anyio.current_time() - began

    waited = await under_lock(pipeline.context, "test", print, taken)
    assert lock.LEASE_SECONDS < waited < lock.TAKEOVER_SECONDS + 1


async def test_a_renewal_that_hangs_ends_the_work_before_another_takes_over(
    monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline
) -> None:
    original = pipeline.context.aws.call

    async def hang(service: str, operation: str, /, **arguments: Any) -> Any:
        if operation == "put_item" and anyio.current_time() > began + 1:
            await anyio.sleep(600)
        return await original(service, operation, **arguments)

    began = anyio.current_time()
    monkeypatch.setattr(pipeline.context.aws, "call", hang)

    async def work(_: HeldLock) -> None:
        await anyio.sleep(600)

    with pytest.raises(LockedError, match="could not be renewed for 15 s"):
        await under_lock(pipeline.context, "test", print, work)
    assert anyio.current_time() - began <= lock.TAKEOVER_SECONDS


def test_this_process_lives_and_an_ended_one_does_not() -> None:
    mine = holder("test", "now").data()
    assert not holder_is_dead(mine)
    assert not holder_is_dead(mine | {"host": "elsewhere", "pid": 1})  # who knows
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert holder_is_dead(mine | {"pid": ended.pid})
    assert holder_is_dead(
        mine | {"started": "long ago"}
    )  # the number belongs to another process now


def test_a_zombie_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, not reaped
    assert holder_is_dead(holder("test", "now").data() | {"pid": child.pid})
    child.wait()


def test_the_holder_is_described() -> None:
    lease = Lease(token="t", expires=0, holder=holder("deploy", "12:00").data())
    assert f"(process {os.getpid()}), deploy since 12:00" in lock.describe(lease)
