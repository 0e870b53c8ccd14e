"""Plans that hold or are refused, and verifying, on the embedded AWS."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ci import infra, release
from ci.errors import PlanOutdatedError
from ci.release import Facts, OutcomeKind
from ci.release.plan import saved
from ci.release.prerequisites.findings import Status
from tests.local.releases.environment import REQUEST, World, validation

pytestmark = pytest.mark.docker


@pytest.fixture
async def good(world: World) -> list[release.Image]:
    """The good images, deployed."""
    images = world.images("good")
    outcome = await world.deploy(images)
    assert outcome.ok, outcome.text()
    return images


async def planned(world: World, images: list[release.Image]) -> tuple[release.Plan, Facts]:
    found = await release.plan(world.context, images)
    return found, await saved.read_facts(world.context)


async def carried_out(
    world: World, images: list[release.Image], expected: Facts
) -> release.Outcome:
    options = release.ReleaseOptions(expected=expected)
    return await release.deploy(
        world.context, images, REQUEST, validation(True), world.say, options
    )


async def test_nothing_that_ecs_adds_or_reorders_is_a_change(
    world: World, good: list[release.Image]
) -> None:
    found, _ = await planned(world, good)
    assert not found.changed
    assert [change.diff for change in found.changes] == [()] * len(good)


@pytest.mark.usefixtures("good")
async def test_a_plan_is_executed_once_and_then_outdated(world: World) -> None:
    newer = world.images("good", threat_hunter="good-planned")
    found, expected = await planned(world, newer)
    (change,) = (item for item in found.changes if item.diff)
    assert change.agent == "threat-hunter"
    diff = [line for line in change.diff if line[0] in "+-"]
    assert len(diff) == 6  # image, version and digest: old and new
    expected = json.loads(json.dumps(expected))  # as it comes out of a file
    assert (await carried_out(world, newer, expected)).kind is OutcomeKind.DEPLOYED
    revisions, tasks, records = world.revisions, world.tasks(), await world.records()
    with pytest.raises(PlanOutdatedError, match="service acso-development-threat-hunter"):
        await carried_out(world, world.images("good"), expected)
    assert (world.revisions, world.tasks()) == (revisions, tasks)
    assert await world.records() == records


@pytest.mark.usefixtures("good")
async def test_a_change_by_hand_since_the_plan_is_refused(world: World) -> None:
    images = world.images("good", threat_hunter="good-by-hand")
    _, expected = await planned(world, images)
    service = f"{world.context.env.prefix}-supervisor"
    ecs, cluster = world.context.aws.client("ecs"), world.context.outputs.cluster
    ecs.update_service(cluster=cluster, service=service, desiredCount=2)
    try:
        with pytest.raises(PlanOutdatedError, match=f"service {service}: .* 1 tasks.* 2 tasks"):
            await carried_out(world, images, expected)
    finally:
        ecs.update_service(cluster=cluster, service=service, desiredCount=1)


async def test_an_applied_stack_has_the_template_s_checksum(world: World) -> None:
    context = world.context
    facts = await infra.stack_facts(context)
    assert list(facts.current.values()) == list(facts.desired.values())
    assert len(facts.current) == 2


async def test_what_was_deployed_passes_every_check(
    world: World, good: list[release.Image]
) -> None:
    verified = await release.verify(world.context, good)
    assert {item.status for item in verified.findings} == {Status.PASS}, verified.text()
    assert {
        image.agent: image.reference for image in await release.running_images(world.context)
    } == {image.agent: image.reference for image in good}


@contextmanager
def without_log_group(world: World) -> Iterator[None]:
    logs, name = world.context.aws.client("logs"), world.context.outputs.log_group
    logs.delete_log_group(logGroupName=name)
    try:
        yield
    finally:
        logs.create_log_group(logGroupName=name)


@contextmanager
def without_role(world: World, arn: str) -> Iterator[None]:
    iam, name = world.context.aws.client("iam"), arn.rpartition("/")[2]
    role = iam.get_role(RoleName=name)["Role"]
    names = iam.list_role_policies(RoleName=name)["PolicyNames"]
    policies = {
        item: iam.get_role_policy(RoleName=name, PolicyName=item)["PolicyDocument"]
        for item in names
    }
    for item in names:
        iam.delete_role_policy(RoleName=name, PolicyName=item)
    iam.delete_role(RoleName=name)
    try:
        yield
    finally:
        trust = json.dumps(role["AssumeRolePolicyDocument"])
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
        for item, document in policies.items():
            iam.put_role_policy(RoleName=name, PolicyName=item, PolicyDocument=json.dumps(document))


async def test_everything_that_was_removed_is_reported_together(
    world: World, good: list[release.Image]
) -> None:
    context = world.context
    elbv2, group = context.aws.client("elbv2"), context.outputs.target_groups["supervisor"]
    elbv2.modify_target_group(TargetGroupArn=group, HealthCheckPath="/alive")
    hunter = context.outputs.task_roles["threat-hunter"]
    images = [good[0], *good[1:]]
    images[2] = release.Image(
        agent=good[2].agent,
        version="absent",
        reference=f"{good[2].reference.partition('@')[0]}@sha256:{'0' * 64}",
    )
    try:
        with without_log_group(world), without_role(world, hunter):
            verified = await release.verify(context, images)
    finally:
        elbv2.modify_target_group(TargetGroupArn=group, HealthCheckPath="/health")
    assert {item.what: item.message for item in verified.problems} == {
        "log group": "does not exist: no task could start",
        "role of threat-hunter": "does not exist",
        f"image of {good[2].agent}": "is not in the registry",
        "target group of supervisor": "health path is /alive, not /health",
    }
    again = await release.verify(context, good)
    assert again.ok, again.text()


async def test_a_permission_removed_from_the_execution_role_is_named(
    world: World, good: list[release.Image]
) -> None:
    iam = world.context.aws.client("iam")
    name = world.context.outputs.execution_role.rpartition("/")[2]
    kept = iam.get_role_policy(RoleName=name, PolicyName="start-tasks")["PolicyDocument"]
    less = {
        **kept,
        "Statement": [
            item for item in kept["Statement"] if "logs:PutLogEvents" not in item["Action"]
        ],
    }
    try:
        iam.put_role_policy(
            RoleName=name, PolicyName="start-tasks", PolicyDocument=json.dumps(less)
        )
        verified = await release.verify(world.context, good)
    finally:
        iam.put_role_policy(
            RoleName=name, PolicyName="start-tasks", PolicyDocument=json.dumps(kept)
        )
    lacking = {item.action for item in verified.problems}
    assert lacking == {"logs:CreateLogStream", "logs:PutLogEvents"}
