"""Releases on real containers: what is promised of a deploy, a failure, a kill and a rollback.

Slow, because containers start and stop. Each test begins with a deploy of the good images, which
does nothing where the test before left those running.
"""

import dataclasses
import json
import signal
import subprocess
import sys

import pytest

from ci import release
from ci.errors import AwsError, NothingToRollBackError, ReleaseFailedError, WithdrawnError
from ci.release import OutcomeKind
from ci.release.records import images as kept_images
from ci.release.records import retention
from ci.release.records.release import State
from tests.local.releases.environment import ROOT, World

pytestmark = pytest.mark.docker
HUNTER = "threat-hunter"


@pytest.fixture
async def good(world: World) -> list[release.Image]:
    """The good images, deployed."""
    images = world.images("good")
    outcome = await world.deploy(images)
    assert outcome.ok, outcome.text()
    world.lines.clear()
    return images


def everywhere(world: World, version: str, **others: str) -> dict[str, str]:
    """Return a version for every agent."""
    agents = world.context.config.agents
    return {agent.name: others.get(agent.package, version) for agent in agents}


async def test_a_first_deploy_starts_every_agent_and_is_recorded(world: World) -> None:
    world.clear()
    outcome = await world.deploy(world.images("good"))
    assert outcome.kind is OutcomeKind.DEPLOYED
    assert await world.versions() == everywhere(world, "good")
    (record,) = await world.records()
    assert record.state is State.SUCCEEDED
    assert (await release.status(world.context)).ok
    ecr, agents = world.context.aws.client("ecr"), world.context.config.agents
    # The stand-ins of all agents are one image, in one repository.
    found = ecr.describe_images(repositoryName=agents[0].repository)["imageDetails"]
    digests = {run.digest for run in record.after.values()}
    kept = {i["imageDigest"] for i in found for t in i["imageTags"] if t.startswith("kept-dev")}
    assert digests <= kept


async def test_the_same_images_again_change_nothing(
    world: World, good: list[release.Image]
) -> None:
    before, tasks = world.revisions, world.tasks()
    outcome = await world.deploy(good)
    assert outcome.kind is OutcomeKind.NOTHING_TO_DO
    assert (world.revisions, world.tasks()) == (before, tasks)


@pytest.mark.usefixtures("good")
async def test_only_the_agent_with_a_new_image_is_rolled(world: World) -> None:
    before, tasks = world.revisions, world.tasks()
    outcome = await world.deploy(world.images("good", threat_hunter="good-2"))
    assert outcome.kind is OutcomeKind.DEPLOYED
    after = world.revisions
    assert {name for name in after if after[name] != before[name]} == {HUNTER}
    assert len(world.tasks() & tasks) == len(tasks) - 1
    assert await world.versions() == everywhere(world, "good", threat_hunter="good-2")


@pytest.mark.usefixtures("good")
async def test_a_crash_at_start_rolls_back_and_is_reported_with_its_last_lines(
    world: World,
) -> None:
    before, tasks = world.revisions, world.tasks()
    outcome = await world.deploy(world.images("good", threat_hunter="crash"))
    assert outcome.kind is OutcomeKind.ROLLED_BACK
    assert await world.versions() == everywhere(world, "good")
    assert world.revisions == before
    assert len(world.tasks() & tasks) == len(tasks) - 1  # the others were never touched
    with pytest.raises(ReleaseFailedError) as raised:
        outcome.raise_for_failure()
    assert f"agent {HUNTER} does not stay up" in str(raised.value)
    assert "exit code 1" in str(raised.value)
    assert "| RuntimeError: boom" in str(raised.value)
    record = (await world.records())[0]
    assert record.state is State.ROLLED_BACK


@pytest.mark.usefixtures("good")
async def test_one_bad_agent_rolls_the_new_good_ones_back_too(world: World) -> None:
    outcome = await world.deploy(world.images("good-2", threat_hunter="crash"))
    assert outcome.kind is OutcomeKind.ROLLED_BACK
    assert await world.versions() == everywhere(world, "good")
    assert (await release.status(world.context)).ok


async def test_an_image_that_cannot_be_pulled_is_reported_at_once(
    world: World, good: list[release.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = f"{good[1].reference.partition('@')[0]}@sha256:{'0' * 64}"
    images = [*good]
    images[1] = dataclasses.replace(good[1], version="absent", reference=absent)
    with pytest.raises(AwsError, match=f"does not hold sha256:{'0' * 64}"):
        await world.deploy(images)  # known before anything is changed

    async def keep(*_: object) -> None:
        """As if it got lost a moment later."""

    monkeypatch.setattr(kept_images, "keep", keep)
    outcome = await world.deploy(images)
    # Three pulls fail within a second here: ECS's circuit breaker may end the deployment first.
    assert outcome.kind in (OutcomeKind.ROLLED_BACK, OutcomeKind.ROLLED_BACK_BY_ECS)
    assert "CannotPullContainerError" in outcome.failures[0].text()
    assert await world.versions() == everywhere(world, "good")


@pytest.mark.usefixtures("good")
async def test_an_agent_that_never_becomes_healthy_is_taken_back(world: World) -> None:
    env = dataclasses.replace(world.context.env, health_grace=4)
    hasty = dataclasses.replace(world, context=dataclasses.replace(world.context, env=env))
    outcome = await hasty.deploy(world.images("good", threat_hunter="sick"))
    assert outcome.kind is OutcomeKind.ROLLED_BACK
    assert HUNTER in outcome.why
    assert await world.versions() == everywhere(world, "good")


@pytest.mark.usefixtures("good")
async def test_an_agent_that_dies_after_it_was_healthy_is_taken_back(world: World) -> None:
    env = dataclasses.replace(world.context.env, bake_time=15)
    patient = dataclasses.replace(world, context=dataclasses.replace(world.context, env=env))
    outcome = await patient.deploy(world.images("good", threat_hunter="late"))
    assert outcome.kind is OutcomeKind.ROLLED_BACK
    assert f"agent {HUNTER} does not stay up" in outcome.why
    assert "exit code 137" in outcome.failures[0].text()
    assert await world.versions() == everywhere(world, "good")
    assert (await world.records())[0].at(State.VALIDATING)  # it had been good


@pytest.mark.usefixtures("good")
async def test_old_revisions_are_deregistered_by_count_and_what_runs_never(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        retention, "MAX_DEREGISTERED", 100
    )  # however many tests released before this one
    env = dataclasses.replace(world.context.env, keep_revisions=1, keep_releases=2)
    thrifty = dataclasses.replace(world, context=dataclasses.replace(world.context, env=env))
    for name in ("good-7", "good-8"):
        outcome = await thrifty.deploy(world.images("good", threat_hunter=name))
        assert (outcome.kind, outcome.notes) == (OutcomeKind.DEPLOYED, ())
    family = f"{env.prefix}-{HUNTER}"
    client = world.context.aws.client("ecs")
    active = client.list_task_definitions(familyPrefix=family, status="ACTIVE", sort="DESC")
    numbers = [arn.rpartition(":")[2] for arn in active["taskDefinitionArns"]]
    now = int(world.revisions[HUNTER])
    assert numbers == [str(now), str(now - 1)]  # what runs, and what a rollback goes to
    assert len(await world.records()) == 2
    assert (await world.rollback(f"{family}:{now - 1}")).kind is OutcomeKind.RESTORED
    assert await world.versions() == everywhere(world, "good", threat_hunter="good-7")


@pytest.mark.usefixtures("good")
async def test_a_rollback_by_hand_returns_to_the_release_before(world: World) -> None:
    await world.deploy(world.images("good", threat_hunter="good-2"))
    outcome = await world.rollback()
    assert outcome.kind is OutcomeKind.RESTORED
    assert await world.versions() == everywhere(world, "good")
    assert (await release.status(world.context)).ok


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("after", ["deploy", "rollback"])
@pytest.mark.usefixtures("good")
async def test_what_a_stopped_process_left_is_finished_or_undone(
    world: World, how: signal.Signals, after: str
) -> None:
    name = f"good-{how.name}-{after}"
    newer = world.images("good", incident_response=name, threat_hunter=name)
    stop_halfway(world, newer, how)
    outcome = await (world.deploy(newer) if after == "deploy" else world.rollback())
    assert outcome.ok, outcome.text()
    # A killed process is known to be dead, an interrupted one has released its lock: nothing
    # waits for a lease to expire.
    dead = any(line.endswith("that process is dead") for line in world.lines)
    assert dead == (how == signal.SIGKILL)
    assert not any("is locked by" in line for line in world.lines)
    new = name if after == "deploy" else "good"
    versions = everywhere(world, "good", incident_response=new, threat_hunter=new)
    assert await world.versions() == versions
    current, stopped = (await world.records())[:2]
    assert {run.version for run in current.after.values()} == set(versions.values())
    assert (current.state, stopped.state) == (State.SUCCEEDED, State.FAILED)
    assert "taken over" in stopped.why


@pytest.mark.usefixtures("good")
async def test_a_second_ctrl_c_rolls_every_service_back(world: World) -> None:
    newer = world.images("good", incident_response="good-twice", threat_hunter="good-twice")
    code = stop_halfway(world, newer, signal.SIGINT, again=True)
    assert code == WithdrawnError.exit_code
    assert await world.versions() == everywhere(world, "good")
    record = (await world.records())[0]
    assert (record.state, record.outcome) == (State.ROLLED_BACK, OutcomeKind.WITHDRAWN)


def stop_halfway(
    world: World, images: list[release.Image], how: signal.Signals, *, again: bool = False
) -> int:
    """Deploy in a process of its own and stop that in the middle of the rollout.

    Returns its exit code; `again` stops it once more when it asks for that.
    """
    with subprocess.Popen(
        command(world, images),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "tasks desired" in line:
                process.send_signal(how)
                break
        for line in process.stdout:
            if again and "press Ctrl-C again" in line:
                process.send_signal(how)
    assert process.returncode not in (0, 1)
    return process.returncode


def command(world: World, images: list[release.Image]) -> list[str]:
    """Return the command that deploys these images in a process of its own."""
    aws = world.context.aws
    where = {"endpoint": aws.endpoint, "registry": aws.registry, "load_balancer": aws.load_balancer}
    arguments = [json.dumps(where), json.dumps([vars(image) for image in images])]
    return [sys.executable, "-m", "tests.local.releases.deploying", *arguments]


async def test_a_failed_first_deploy_leaves_no_service_and_a_good_one_follows(
    world: World,
) -> None:
    world.clear()
    outcome = await world.deploy(world.images("good", threat_hunter="crash"))
    assert outcome.kind is OutcomeKind.REMOVED
    assert world.services() == {}
    assert world.tasks() == set()
    with pytest.raises(NothingToRollBackError):
        await world.rollback()
