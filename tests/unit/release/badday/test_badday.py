"""Bad days of AWS, of the network and of the machines that release.

The model of AWS beside this file is written from the API's documentation, apart from the fakes of
the other tests. `--hypothesis-profile=badday` runs many days (CONTRIBUTING.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import anyio
from hypothesis import event, given, settings
from hypothesis import strategies as st

from ci.errors import AcsoError
from ci.release import Image, Outcome, OutcomeKind
from tests.unit.release.badday.day import (
    AGENTS,
    FEWER,
    MORE,
    Day,
    deploys,
    described,
    rolls_back,
    simulate,
)
from tests.unit.release.badday.services import Fates
from tests.unit.release.badday.tasks import Fate, Quality
from tests.unit.release.badday.weather import FATES, PATIENT, SHORTAGES, WILD, Weather

GOOD, BAD, BACK = "good release", "bad release", "rollback"
BADNESS = st.sampled_from([Quality.CRASHES, Quality.DEAF, Quality.DIES])
WAIT = 900.0  # seconds that a calm command waits for a lock
FEW = settings(max_examples=3, deadline=None, derandomize=True)
MANY = settings.get_current_profile_name() == "badday"
some_days = settings() if MANY else FEW


@dataclass(frozen=True)
class Step:
    """A command of the day: when it starts after the one before, and what goes wrong for it."""

    kind: str
    delay: float
    wait: float  # for the lock
    weather: Weather
    badness: Quality
    agents: tuple[str, ...]


SET = st.sampled_from([AGENTS, AGENTS, MORE, FEWER])
STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from([GOOD, GOOD, BAD, BACK]),
        st.floats(0.0, 120.0).map(lambda value: round(value, 1)),
        st.sampled_from([0.0, 20.0, 300.0]),
        WILD,
        BADNESS,
        SET,
    ),
    min_size=1,
    max_size=3,
)


async def morning(day: Day, fates: Sequence[Fate], shortage: float = 0.0) -> list[Image]:
    """Deploy two releases on a calm morning; return the images of the second."""
    images: list[Image] = []
    for name in ("first", "second"):
        images = day.push(name)
        result = await day.run(name, deploys(images))
        assert isinstance(result, Outcome), described(result)
        assert result.kind is OutcomeKind.DEPLOYED, described(result)
    day.account.fates.given = list(fates)
    day.account.fates.shortage = shortage
    return images


def ending(result: Outcome | AcsoError | None) -> str:
    """Return how a command ended, for statistics."""
    if result is None:
        return "killed"
    return str(result.kind) if isinstance(result, Outcome) else type(result).__name__


async def evening(day: Day) -> None:
    """Deploy a good release with nothing in its way; everything must be whole afterwards."""
    day.account.fates.given.clear()
    day.account.fates.shortage = 0.0
    images = day.push("last")
    result = await day.run("last", deploys(images, wait=WAIT))
    assert isinstance(result, Outcome), described(result)
    assert result.kind is OutcomeKind.DEPLOYED, described(result)
    wrong = day.wrong(images)
    assert not wrong, "\n".join([*wrong, *day.account.journal])


@some_days
@given(weather=PATIENT, fates=FATES, shortage=SHORTAGES, count=st.integers(1, 2))
def test_a_good_release_is_deployed_while_every_delay_is_within_the_stated_patience(
    weather: Weather, fates: list[Fate], shortage: float, count: int
) -> None:
    async def story(day: Day) -> None:
        await morning(day, fates, shortage)
        images = day.push("good")
        result = await day.run("good", deploys(images), weather)
        assert isinstance(result, Outcome), described(result)
        assert result.kind is OutcomeKind.DEPLOYED, described(result)
        wrong = day.wrong(images)
        assert not wrong, "\n".join([*wrong, *day.account.journal])

    simulate(story, fates=Fates(), count=count)


@some_days
@given(steps=STEPS, fates=FATES)
def test_one_owner_no_mixture_without_a_record_and_a_whole_environment_in_the_evening(
    steps: list[Step], fates: list[Fate]
) -> None:
    async def story(day: Day) -> None:
        await morning(day, fates)
        async with anyio.create_task_group() as group:
            for number, step in enumerate(steps):
                await anyio.sleep(step.delay)
                group.start_soon(run, day, f"{number}: {step.kind}", step)
        await evening(day)

    async def run(day: Day, name: str, step: Step) -> None:
        bad = {"supervisor": step.badness} if step.kind == BAD else {}
        images = day.push(name, bad, step.agents)
        command = deploys(images, wait=step.wait)
        if step.kind == BACK:
            command = rolls_back(wait=step.wait)
        result = await day.run(name, command, step.weather, step.agents)
        event(f"{step.kind}: {ending(result)}")
        assert result is None or isinstance(result, Outcome | AcsoError)
        if step.kind == BAD and isinstance(result, Outcome):
            assert result.kind is not OutcomeKind.DEPLOYED, described(result)

    simulate(story)


@some_days
@given(
    weather=WILD, number=st.integers(1, 300), badness=st.none() | BADNESS, agents=SET, fates=FATES
)
def test_a_rollback_makes_the_environment_whole_after_a_process_was_killed(
    weather: Weather,
    number: int,
    badness: Quality | None,
    agents: tuple[str, ...],
    fates: list[Fate],
) -> None:
    async def story(day: Day) -> None:
        before = await morning(day, fates)
        images = day.push("third", {"supervisor": badness} if badness else {}, agents)
        killed = replace(weather, dies_at=number)
        end = await day.run("third", deploys(images), killed, agents)
        event(f"{badness or GOOD}: {ending(end)}")
        unfinished = bool(day.account.unfinished())
        day.account.fates.given.clear()
        result = await day.run("back", rolls_back(wait=WAIT), agents=agents)
        if unfinished:
            assert isinstance(result, Outcome), described(result)
            assert result.kind is OutcomeKind.RESTORED, described(result)
            wrong = day.wrong(before)
            assert not wrong, "\n".join([*wrong, *day.account.journal])
        await evening(day)

    simulate(story)


@some_days
@given(weather=WILD, number=st.integers(1, 300), agents=SET, fates=FATES)
def test_the_same_deploy_again_ends_what_a_killed_process_began(
    weather: Weather, number: int, agents: tuple[str, ...], fates: list[Fate]
) -> None:
    async def story(day: Day) -> None:
        await morning(day, fates)
        images = day.push("third", agents=agents)
        killed = replace(weather, dies_at=number)
        event(ending(await day.run("third", deploys(images), killed, agents)))
        day.account.fates.given.clear()
        result = await day.run("again", deploys(images, wait=WAIT), agents=agents)
        assert isinstance(result, Outcome), described(result)
        assert result.ok, described(result)
        wrong = day.wrong(images)
        assert not wrong, "\n".join([*wrong, *day.account.journal])

    simulate(story)
