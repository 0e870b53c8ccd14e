"""Faults on real containers: the rest holds, every fault is undone, also after kill -9."""

import json
import signal
import sys
from collections.abc import AsyncIterator

import anyio
import pytest

from ci import chaos
from ci.aws import elb, iam, records, rules
from ci.chaos import recording
from ci.chaos.faults import DeniedActions
from ci.pipeline import environments
from ci.release.records import lock
from tests.local.releases.environment import ROOT, World
from validation import Report, Status

pytestmark = pytest.mark.docker
AGENT = "supervisor"


@pytest.fixture
async def deployed(world: World) -> World:
    """The environment with good agents."""
    outcome = await world.deploy(world.images("good"))
    assert outcome.ok, outcome.text()
    return world


async def conducted(world: World, *experiments: str) -> Report:
    plan = chaos.Plan(experiments=experiments, agent=AGENT, seconds=2)
    report = await chaos.run(world.context, plan, world.say)
    print(report.text())
    assert await left(world) == []
    return report


async def left(world: World) -> list[str]:
    """Return what is left of faults: records, rules of the listener, and the lock."""
    context = world.context
    found = await records.documents(context.aws, context.outputs.releases_table, recording.KIND)
    (listener,) = await rules.listeners(context.aws, context.env)
    answering = await rules.answering(context.aws, listener)
    held = [lock.describe(item)] if (item := await lock.current(context)) else []
    return [*(item.key for item in found), *(rule.text for rule in answering), *held]


async def status(world: World) -> int:
    return (await elb.get(f"{world.context.url(AGENT)}/health")).status


@pytest.fixture
async def killed(deployed: World) -> AsyncIterator[World]:
    """An environment in which a process was killed after it had cut off an agent."""
    aws = deployed.context.aws
    where = {name: getattr(aws, name) for name in ("endpoint", "registry", "load_balancer")}
    command = [sys.executable, "-m", "tests.local.releases.breaking", json.dumps(where)]
    async with await anyio.open_process([*command, "cut-agent"], cwd=ROOT, stderr=None) as process:
        assert process.stdout is not None
        said = ""
        async for chunk in process.stdout:
            said += chunk.decode()
            if "made: " in said:
                break
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL, said
    yield deployed
    assert await left(deployed) == []


async def test_what_a_killed_process_broke_is_undone_by_the_next_command(killed: World) -> None:
    assert await status(killed) == 503
    assert f"unreachable-agent/{AGENT}" in await left(killed)
    report = await environments.validated(killed.context, "smoke")
    assert report.ok
    assert await status(killed) == 200


async def test_an_agent_that_is_cut_off_disturbs_no_other(deployed: World) -> None:
    report = await conducted(deployed, "cut-agent")
    (result,) = report.results
    assert result.status is Status.PASS, report.text()
    assert f"{AGENT} did not answer for " in result.finding.observed
    assert " 0.0 s" not in result.finding.observed
    assert await status(deployed) == 200


@pytest.mark.matrix
async def test_stopped_tasks_come_back_and_disturb_no_other_agent(deployed: World) -> None:
    before = deployed.tasks()
    report = await conducted(deployed, "stop-task", "stop-agent")
    assert {result.status for result in report.results} == {Status.PASS}, report.text()
    assert len(before - deployed.tasks()) == 1
    assert len(deployed.tasks()) == len(before)


@pytest.mark.matrix
async def test_a_denied_action_that_changes_nothing_here_is_not_examined_and_undone(
    deployed: World,
) -> None:
    report = await conducted(deployed, "deny-dynamodb")
    (result,) = report.results
    assert result.status is Status.NOT_EXAMINED, report.text()
    assert "do not use their roles" in result.finding.observed
    assert report.ok is False
    role = deployed.context.outputs.task_roles[AGENT].rpartition("/")[2]
    assert not await iam.has_policy(deployed.context.aws, role, "acso-chaos")


@pytest.mark.matrix
async def test_a_policy_of_a_killed_process_is_removed(deployed: World) -> None:
    context = deployed.context
    role = context.outputs.task_roles[AGENT].rpartition("/")[2]
    fault = DeniedActions(agent=AGENT, role=role, actions=("dynamodb:*",))
    await recording.record(context, fault)
    await fault.make(context)
    assert await iam.has_policy(context.aws, role, "acso-chaos")
    assert await chaos.undo_left(context, deployed.say) == [fault]
    assert not await iam.has_policy(context.aws, role, "acso-chaos")
    assert await chaos.undo_left(context, deployed.say) == []


@pytest.mark.matrix
async def test_another_agent_that_stops_meanwhile_fails_the_hypothesis(deployed: World) -> None:
    context, ecs = deployed.context, deployed.context.aws.client("ecs")
    other = {"cluster": context.outputs.cluster, "service": f"{context.env.prefix}-threat-hunter"}

    def say(line: str) -> None:
        if line.startswith(("made: ", "undone: ")):
            ecs.update_service(**other, desiredCount=int(line.startswith("undone")))

    plan = chaos.Plan(experiments=("cut-agent",), agent=AGENT, seconds=3)
    (result,) = (await chaos.run(context, plan, say)).results
    assert result.status is Status.FAIL, result.finding
    assert "threat-hunter tasks: " in result.finding.observed
    assert await left(deployed) == []
