"""Releases behind a load balancer that only a prober reaches."""

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from ci import release
from ci.aws import elb
from ci.aws.elb import Answer
from ci.config import LoadBalancer
from ci.errors import AwsError, ProbeError
from ci.release import Outcome, OutcomeKind, verify
from ci.release.observe.status import status
from ci.release.options import ReleaseOptions
from ci.release.probing.inside import START_SECONDS, probing_inside
from ci.release.rollout.verdict import BLIND_PATIENCE, SILENCE_PATIENCE
from tests.unit.release.conftest import (
    COUNT,
    REQUEST,
    Pipeline,
    all_of,
    context,
    images,
    versions,
)
from tests.unit.release.fakes.account import ReadyAccount
from tests.unit.release.fakes.prober import OUTSIDE, Network

NEVER = float("inf")


@pytest.fixture(autouse=True)
def blocked(monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline) -> None:  # noqa: ARG001
    """This machine does not reach the load balancer."""

    async def get(url: str, *, seconds: float = 5.0) -> Answer:  # noqa: ARG001
        return Answer(status=0, error="no answer: timed out")

    monkeypatch.setattr(elb, "get", get)


@asynccontextmanager
async def inside(
    pipeline: Pipeline, network: Network | None = None
) -> AsyncIterator[tuple[Pipeline, Network]]:
    """Return a process that looks through a prober."""
    network = network or Network()
    network.answer = lambda path: pipeline.world.answer(f"{OUTSIDE}{path}")
    env = dataclasses.replace(pipeline.context.env, load_balancer=LoadBalancer(internal=True))
    async with probing_inside(network.make(), outside=OUTSIDE, say=pipeline.lines.append) as probe:
        here = dataclasses.replace(pipeline.context, probe=probe, env=env)
        yield dataclasses.replace(pipeline, context=here), network


async def test_a_release_succeeds_and_a_failed_one_returns(pipeline: Pipeline) -> None:
    async with inside(pipeline) as (seen, network):
        assert (await seen.deploy("good")).kind is OutcomeKind.DEPLOYED
        assert (await seen.deploy("good-2")).kind is OutcomeKind.DEPLOYED
        assert (await seen.deploy("good-3", threat_hunter="crash")).kind is OutcomeKind.ROLLED_BACK
        lied = await seen.deploy("good-3", threat_hunter="liar")
        assert lied.kind is OutcomeKind.ROLLED_BACK
        assert "answers" in lied.why
        assert (await seen.deploy("good-2")).kind is OutcomeKind.NOTHING_TO_DO
        assert (await seen.rollback()).kind is OutcomeKind.RESTORED
    assert versions(pipeline.world) == all_of("good")
    assert len(network.probers) == 1
    assert network.probers[0].stopped


@pytest.mark.usefixtures("blocked")
async def test_without_a_prober_the_same_release_is_rolled_back_for_silence(
    pipeline: Pipeline,
) -> None:
    outcome = await pipeline.deploy("good")
    assert outcome.kind is OutcomeKind.REMOVED
    assert "no answer: timed out" in outcome.why


async def test_a_prober_that_dies_in_the_middle_costs_no_good_release(pipeline: Pipeline) -> None:
    network = Network(dies_after=[4.0, 9.0], starts_after=2.0)
    async with inside(pipeline, network) as (seen, _):
        outcome = await seen.within(bake_time=40).deploy("good")
    assert outcome.kind is OutcomeKind.DEPLOYED, outcome.text()
    assert len(network.probers) >= 3


async def test_a_prober_that_starts_slowly_costs_no_good_release(pipeline: Pipeline) -> None:
    """Longer than an agent that does not answer may be silent."""
    network = Network(starts_after=1.5 * SILENCE_PATIENCE)
    async with inside(pipeline, network) as (seen, _):
        outcome = await seen.deploy("good")
    assert outcome.kind is OutcomeKind.DEPLOYED, outcome.text()


async def test_answers_that_come_late_cost_no_good_release(pipeline: Pipeline) -> None:
    async with inside(pipeline, Network(latency=12.0)) as (seen, _):
        outcome = await seen.deploy("good")
    assert outcome.kind is OutcomeKind.DEPLOYED, outcome.text()


async def blind(pipeline: Pipeline, act: Callable[[Pipeline], Awaitable[Outcome]]) -> Outcome:
    """Do something that no prober ever sees the result of."""
    async with inside(pipeline, Network(starts_after=NEVER)) as (seen, network):
        outcome = await act(seen)
        assert len(network.probers) >= 1
        return outcome


async def test_a_release_that_nobody_can_look_at_does_not_say_that_an_agent_is_unhealthy(
    pipeline: Pipeline,
) -> None:
    async with inside(pipeline) as (seen, _):
        await seen.deploy("good")
    began = anyio.current_time()
    outcome = await blind(pipeline, lambda seen: seen.deploy("good-2"))
    assert outcome.kind is OutcomeKind.ROLLBACK_FAILED  # it could not be looked at either
    assert "could not be asked for" in outcome.why
    assert "its targets are healthy: not examined: " in outcome.why
    assert f"did not start within {START_SECONDS:g} s" in outcome.why
    assert "unhealthy" not in outcome.why
    assert "could not be asked" in outcome.way_back
    assert versions(pipeline.world) == all_of("good")
    assert anyio.current_time() - began < 3 * BLIND_PATIENCE


async def test_a_rollback_that_can_be_looked_at_again_says_why_the_release_failed(
    pipeline: Pipeline,
) -> None:
    async with inside(pipeline) as (seen, _):
        await seen.deploy("good")
    network = Network(starts_after=NEVER)
    async with inside(pipeline, network) as (seen, _):

        async def later() -> None:
            await anyio.sleep(BLIND_PATIENCE + 20)
            network.starts_after = 2.0

        async with anyio.create_task_group() as group:
            group.start_soon(later)
            outcome = await seen.deploy("good-2")
    assert outcome.kind is OutcomeKind.NOT_EXAMINED, outcome.text()
    with pytest.raises(ProbeError, match="all 5 services are back") as raised:
        outcome.raise_for_failure()
    assert raised.value.exit_code == 34


async def test_an_unchanged_environment_that_nobody_can_look_at_is_not_called_unhealthy(
    pipeline: Pipeline,
) -> None:
    async with inside(pipeline) as (seen, _):
        await seen.deploy("good")
    outcome = await blind(pipeline, lambda seen: seen.deploy("good"))
    assert outcome.kind is OutcomeKind.UNCHECKED
    assert "could not be looked at: agent" in outcome.summary()
    assert outcome.remaining_state() == "nothing was changed"
    with pytest.raises(ProbeError):
        outcome.raise_for_failure()


async def test_a_validation_that_cannot_look_is_no_failed_agent(pipeline: Pipeline) -> None:
    async with inside(pipeline) as (seen, _):
        await seen.deploy("good")

        async def validate(_: object) -> None:
            raise ProbeError("the load balancer cannot be looked at")

        given: release.Validate = validate  # type: ignore[assignment]
        outcome = await release.deploy(
            seen.context, images("good-2"), REQUEST, given, seen.lines.append, ReleaseOptions()
        )
    assert outcome.kind is OutcomeKind.NOT_EXAMINED
    assert versions(pipeline.world) == all_of("good")


async def test_status_shows_the_load_balancer_s_own_checks(pipeline: Pipeline) -> None:
    async with inside(pipeline) as (seen, _):
        await seen.deploy("good")
        here = dataclasses.replace(seen.context, probe=pipeline.context.probe)
    found = await status(here)
    assert [item.health for item in found.services] == ["targets healthy"] * COUNT
    assert found.ok


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (Network(starts_after=NEVER), "did not start within"),
        (Network(errors={"start": AwsError("denied", action="ecs:RunTask")}), "denied"),
    ],
)
async def test_verify_says_that_it_cannot_look(
    account: ReadyAccount, network: Network, told: str
) -> None:
    pipeline = Pipeline(world=account, context=context(account))
    async with inside(pipeline, network) as (seen, _):
        found = {item.what: item for item in (await verify(seen.context, [])).findings}
    problem = found["internal load balancer"]
    assert problem.status == "ERROR"
    assert told in problem.message


async def test_verify_starts_a_prober_and_looks_through_it(account: ReadyAccount) -> None:
    pipeline = Pipeline(world=account, context=context(account))
    async with inside(pipeline) as (seen, network):
        network.answer = lambda path: Answer(status=404, body={"path": path})
        found = {item.what: item for item in (await verify(seen.context, [])).findings}
        assert found["internal load balancer"].message == "answers with HTTP 404"
        network.answer = lambda _: Answer(status=0, error="no answer: refused")
        found = {item.what: item for item in (await verify(seen.context, [])).findings}
        assert found["internal load balancer"].status == "FAIL"
        assert found["internal load balancer"].message == "does not answer: no answer: refused"
