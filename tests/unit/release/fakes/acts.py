"""What happens in releases: commands, what befalls them, and users who press Ctrl-C."""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from ci import release
from ci.aws import records
from ci.aws.records import Lease
from ci.aws.session import check_account
from ci.errors import AwsError
from ci.release.records import lock
from tests.unit.release.conftest import ENV, REQUEST, Pipeline, ValidationResult, images
from tests.unit.release.fakes.clock import now

HUNTER = "acso-staging-threat-hunter"
Act = Callable[[Pipeline], Awaitable[release.Outcome | None]]


class StopAt:
    """A user who presses Ctrl-C after some seconds, and again if wanted."""

    def __init__(self, seconds: float, *, again: bool = False) -> None:
        self._at, self._again = anyio.current_time() + seconds, again

    async def asked(self) -> None:
        await anyio.sleep_until(self._at)

    async def asked_again(self) -> bool:
        return self._again


def deploy(name: str = "good-2", *, valid: bool = True, **others: str) -> Act:
    return lambda pipeline: pipeline.deploy(name, valid=valid, **others)


def within(act: Act, **changes: Any) -> Act:
    return lambda pipeline: act(pipeline.within(**changes))


def stopped(act: Act, seconds: float, *, again: bool = False, **changes: Any) -> Act:
    return lambda pipeline: act(pipeline.behaving(stop=StopAt(seconds, again=again), **changes))


def meanwhile(act: Act, seconds: float, happens: Callable[[Pipeline], object]) -> Act:
    """Something happens in AWS some seconds after the command began."""

    async def both(pipeline: Pipeline) -> release.Outcome | None:
        results = []
        async with anyio.create_task_group() as group:

            async def happen() -> None:
                await anyio.sleep(seconds)
                happens(pipeline)

            group.start_soon(happen)
            results.append(await act(pipeline))
        return results[0]

    return both


def refusing(operation: str, code: str) -> Callable[[Pipeline], None]:
    """AWS refuses an operation from now on."""

    def refuse(pipeline: Pipeline) -> None:
        pipeline.world.errors[operation] = AwsError(f"ecs {operation}: {code}: no", code=code)

    return refuse


def replace_service(pipeline: Pipeline) -> None:
    """Somebody else deploys to one service with a revision of their own."""
    world = pipeline.world
    newest = [arn for arn in world.definitions if f"/{HUNTER}:" in arn][-1]
    copy = {
        key: value
        for key, value in world.definitions[newest].items()
        if key not in ("taskDefinitionArn", "revision", "status")
    }
    made = world.register_task_definition(**copy)["taskDefinition"]["taskDefinitionArn"]
    world.update_service(HUNTER, taskDefinition=made)


def delete_service(pipeline: Pipeline) -> None:
    pipeline.world.delete_service("", HUNTER, force=True)


def lose_service(pipeline: Pipeline) -> None:
    del pipeline.world.services[HUNTER]


def switch_off(pipeline: Pipeline) -> None:
    pipeline.world.update_service(HUNTER, desiredCount=0)


def forget_failures(pipeline: Pipeline) -> None:
    pipeline.world.forgets_failures = True


def locked(*, host: str, renewed: bool) -> Act:
    """Another process holds the lock, or left it behind."""

    async def act(pipeline: Pipeline) -> release.Outcome | None:
        aws, data = pipeline.context.aws, {"who": "ann", "host": host, "doing": "deploy"}
        left = Lease(token="t", expires=now().timestamp() + lock.LEASE_SECONDS, holder=data)
        assert await records.put_lease(aws, "releases", left, old=None)
        if not renewed:
            return await pipeline.deploy("good-2")

        async def renew() -> None:
            last = left
            while True:
                await anyio.sleep(lock.RENEWAL_SECONDS)
                newer = dataclasses.replace(last, expires=now().timestamp() + lock.LEASE_SECONDS)
                assert await records.put_lease(aws, "releases", newer, old=last)
                last = newer

        results = []
        async with anyio.create_task_group() as group:
            group.start_soon(renew)
            try:
                results.append(await pipeline.deploy("good-2"))
            finally:
                group.cancel_scope.cancel()
        return results[0]

    return act


async def target_gone(pipeline: Pipeline) -> release.Outcome | None:
    await pipeline.deploy("good-2")
    first = next(arn for arn in pipeline.world.definitions if f"/{HUNTER}:" in arn)
    pipeline.world.deregister_task_definition(first)
    return await pipeline.rollback()


async def nothing_before(pipeline: Pipeline) -> release.Outcome | None:
    return await pipeline.rollback()


async def back_by_hand(pipeline: Pipeline) -> release.Outcome | None:
    await pipeline.deploy("good-2")
    return await pipeline.rollback()


async def never_starts_again(pipeline: Pipeline) -> release.Outcome | None:
    for revision in list(pipeline.world.definitions):
        pipeline.world.broken_revisions[revision] = "crash"
    return await pipeline.deploy("good", threat_hunter="crash")


async def broken_by_itself(pipeline: Pipeline) -> release.Outcome | None:
    for task in pipeline.world.tasks:
        task.mode = "sick"
    return await pipeline.deploy("good")


async def without_table(pipeline: Pipeline) -> release.Outcome | None:
    for operation in ("get_item", "put_item", "query"):
        refusing(operation, "ResourceNotFoundException")(pipeline)
    return await pipeline.deploy("good-2")


async def lost_lease(pipeline: Pipeline) -> release.Outcome | None:
    async def validate(_: release.ReleaseContext) -> ValidationResult:
        pipeline.world.items.pop(("lock", "lock"))
        await anyio.sleep(60)
        return ValidationResult(ok=True)

    return await release.deploy(
        pipeline.context, images("good-2"), REQUEST, validate, pipeline.lines.append
    )


def account(*, region: str = ENV.region, number: str = "111111111111") -> Act:
    """The credentials are another account's or region's than acso.toml says."""

    async def act(pipeline: Pipeline) -> release.Outcome | None:
        class Elsewhere:
            endpoint = None

            def __init__(self) -> None:
                self.region = region

            async def account(self) -> str:
                return number

        aws: Any = Elsewhere()
        await check_account(aws, dataclasses.replace(ENV, account="111111111111"))
        return await pipeline.deploy("good-2")

    return act
