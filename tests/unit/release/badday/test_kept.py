"""Days on which something went wrong once."""

import anyio
import pytest

from ci.aws import records
from ci.aws.session import Aws
from ci.errors import AwsError, LockedError
from ci.release import Outcome, OutcomeKind
from tests.unit.release.badday.day import Day, deploys, described, rolls_back, simulate
from tests.unit.release.badday.tasks import Fate, Quality
from tests.unit.release.badday.test_badday import morning
from tests.unit.release.badday.weather import CLOUD, LOCK, Lost, Storm, Weather


async def silence(day: Day, name: str, *, after: str, cloud: float, lock: float) -> None:
    """Let a process get no answer for these seconds after a line of the journal."""
    while not any(after in line for line in day.account.journal):  # noqa: ASYNC110 (virtual time)
        await anyio.sleep(0.05)
    process = day.processes[name]
    age = anyio.current_time() - process.started
    storms = (Storm("silent", CLOUD, age, cloud), Storm("silent", LOCK, age, lock))
    process.weather = Weather(storms=storms)


def test_a_rollback_stops_when_its_lock_is_lost() -> None:
    async def story(day: Day) -> None:
        before = await morning(day, [])
        bad = day.push("bad", {"supervisor": Quality.CRASHES})
        ends: list[float] = []

        async def release() -> None:
            result = await day.run("bad", deploys(bad))
            ends.append(anyio.current_time())
            assert isinstance(result, LockedError), described(result)

        async with anyio.create_task_group() as group:
            group.start_soon(release)
            await silence(day, "bad", after="rolling_back", cloud=0.0, lock=40.0)
            began = anyio.current_time()
            day.account.fates.given = [Fate(provisioning=60.0)] * 3  # the tasks of the way back
            result = await day.run("back", rolls_back(wait=300.0))
        assert isinstance(result, Outcome), described(result)
        assert result.kind is OutcomeKind.RESTORED, described(result)
        assert ends[0] - began < 20.0  # a lease, and one attempt to remove the lock
        assert not day.wrong(before), "\n".join(day.account.journal)

    simulate(story)


def test_a_release_is_a_success_although_its_lock_cannot_be_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def unreachable(*_: object) -> bool:
        raise AwsError("no answer", service="dynamodb", operation="delete_item", code="Unreachable")

    async def story(day: Day) -> None:
        images = day.push("good")
        monkeypatch.setattr(records, "release_lease", unreachable)
        result = await day.run("good", deploys(images))
        assert isinstance(result, Outcome), described(result)
        assert result.kind is OutcomeKind.DEPLOYED, described(result)

    simulate(story)


@pytest.mark.parametrize("number", [2, 3, 4])
def test_the_answer_to_the_first_calls_takes_longer_than_a_lease(number: int) -> None:
    async def story(day: Day) -> None:
        await morning(day, [])
        images = day.push("good")
        weather = Weather(lost=(Lost(number, 2, 8.0),))
        result = await day.run("good", deploys(images), weather)
        assert isinstance(result, Outcome), described(result)
        assert result.kind is OutcomeKind.DEPLOYED, described(result)

    simulate(story)


@pytest.mark.parametrize("code", ["Unreachable", "ThrottlingException"])
def test_a_lock_is_removed_although_the_first_requests_fail(
    monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    original, calls = records.release_lease, []

    async def failing(aws: Aws, table: str, token: str) -> bool:
        calls.append(token)
        if len(calls) <= 3:
            raise AwsError("no", service="dynamodb", operation="delete_item", code=code)
        return await original(aws, table, token)

    async def story(day: Day) -> None:
        images = day.push("good")
        monkeypatch.setattr(records, "release_lease", failing)
        result = await day.run("good", deploys(images))
        assert isinstance(result, Outcome), described(result)
        assert not day.wrong(images), "\n".join(day.account.journal)

    simulate(story)
