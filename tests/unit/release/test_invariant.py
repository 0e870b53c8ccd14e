"""Whatever happens, in whatever order: services run one recorded release, or one is in progress.

Sequences of deploys, failures, rollbacks, kills, stops and refusals of AWS are made up by
hypothesis, each in an AWS of its own.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

import anyio
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ci.aws import elb
from ci.aws.elb import Answer
from ci.errors import AcsoError, AwsError
from ci.release.records import lock
from ci.release.records.release import State
from ci.release.records.table import history
from tests.unit.release.conftest import CONFIG, Pipeline, context, versions
from tests.unit.release.fakes.acts import StopAt
from tests.unit.release.fakes.clock import VirtualLoop
from tests.unit.release.fakes.world import World
from tests.unit.release.test_killed import kill

AGENTS = [agent.package for agent in CONFIG.agents]
BAD = ("crash", "pull", "oom")
INVALID = "good-0"  # starts and answers; validation refuses it


@dataclass(frozen=True, kw_only=True)
class Event:
    """One command and what befalls it, at a call or after seconds."""

    name: str | None  # the version to deploy; None: a rollback
    agent: str = ""  # one agent with another image
    image: str = ""
    killed_at: int | None = None
    stopped_at: float | None = None
    again: bool = False
    refused: str = ""  # an operation of AWS
    refused_at: float = 0.0
    spoilt: bool = False  # what is started again of the past does not stay up

    async def happen(self, pipeline: Pipeline) -> None:
        """Run the command; how it ends is the records' to tell."""
        world = pipeline.world
        if self.spoilt:
            world.broken_revisions |= dict.fromkeys(world.definitions, "crash")
        async with anyio.create_task_group() as group:
            group.start_soon(self._refuse, world)
            try:
                if self.killed_at is None:
                    await self._run(pipeline)
                else:
                    await kill(pipeline, self._run, at=self.killed_at)
            except AcsoError:
                pass  # said to the user; nothing more
            finally:
                group.cancel_scope.cancel()
        world.errors.clear()
        world.broken_revisions.clear()

    async def _refuse(self, world: World) -> None:
        await anyio.sleep(self.refused_at)
        if self.refused:
            world.errors[self.refused] = AwsError(f"ecs {self.refused}: throttled")

    async def _run(self, pipeline: Pipeline) -> Any:
        if self.stopped_at is not None:
            pipeline = pipeline.behaving(stop=StopAt(self.stopped_at, again=self.again))
        if self.name is None:
            return await pipeline.rollback()
        others = {self.agent: self.image} if self.image else {}
        valid = INVALID not in (self.name, self.image)
        return await pipeline.deploy(self.name, valid=valid, **others)


COMMANDS: dict[str, st.SearchStrategy[Any]] = {
    "name": st.sampled_from(["good-1", "good-2", "good-3", INVALID, None]),
    "agent": st.sampled_from(AGENTS),
    "image": st.sampled_from(["", "", *BAD, INVALID, "good-9"]),
}
MISHAPS: list[dict[str, st.SearchStrategy[Any]]] = [
    {},
    {"killed_at": st.integers(0, 150)},
    {"stopped_at": st.floats(0, 6), "again": st.booleans()},
    {
        "refused": st.sampled_from(["list_tasks", "update_service", "describe_services"]),
        "refused_at": st.floats(0, 3),
    },
    {"spoilt": st.just(True)},
]
EVENTS = st.one_of([st.builds(Event, **COMMANDS, **mishap) for mishap in MISHAPS])


def in_a_world(body: Callable[[Pipeline], Awaitable[None]]) -> None:
    """Run a body in a new AWS, in virtual time."""
    world = World()

    async def get(url: str, *, seconds: float = 5.0) -> Answer:  # noqa: ARG001
        return world.answer(url)

    async def run() -> None:
        await body(Pipeline(world=world, context=context(world)))

    with mock.patch.object(elb, "get", get):
        anyio.run(run, backend_options={"loop_factory": VirtualLoop})


async def holds(pipeline: Pipeline) -> None:
    """Check the invariant."""
    past = await history(pipeline.context)
    target = past.target(None)
    assert target is None or target.state is State.SUCCEEDED
    # A record may say succeeded only of what was validated: nothing bad is ever gone back to.
    for item in past.releases:
        names = {run.version for run in item.after.values()}
        assert item.state is not State.SUCCEEDED or not names & {*BAD, INVALID}, item
    if past.unfinished:
        return
    await anyio.sleep(40)  # what ECS is still at: old tasks that stop
    listed = {s: run.version for s, run in past.current.after.items()} if past.current else {}
    prefix = f"{pipeline.context.env.prefix}-"
    assert versions(pipeline.world) == {s.removeprefix(prefix): v for s, v in listed.items()}


async def story(pipeline: Pipeline, events: list[Event], *, new: bool) -> None:
    """Let events happen one after the other; at the end the next command makes all whole."""
    if not new:
        await pipeline.deploy("good")
    for event in events:
        await event.happen(pipeline.another())
        await holds(pipeline)
    outcome = await pipeline.another().deploy("good-8")
    assert outcome.ok, outcome.text()
    assert not (await history(pipeline.context)).unfinished
    assert await lock.current(pipeline.context) is None
    await holds(pipeline)


@pytest.mark.parametrize(
    "examples", [20, pytest.param(1500, marks=[pytest.mark.matrix, pytest.mark.timeout(1800)])]
)
def test_services_run_one_recorded_release_or_one_is_in_progress(examples: int) -> None:
    fast = examples < 100

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        # The fast suite tells the same of the same code, and at once; the matrix finds the least.
        derandomize=fast,
        phases=[Phase.generate] if fast else [Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(events=st.lists(EVENTS, min_size=1, max_size=4), new=st.booleans())
    def tell(events: list[Event], *, new: bool) -> None:
        in_a_world(lambda pipeline: story(pipeline, events, new=new))

    tell()
