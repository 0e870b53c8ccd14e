"""The production suite on the embedded AWS: it passes, and finds what is broken by real calls."""

from collections.abc import Callable
from typing import Any

import pytest

import validation
from ci.aws import elb
from ci.common.concurrency import parallel
from tests.local.releases.environment import World
from validation import Status, Verdict
from validation.embedded import NOT_THERE

pytestmark = [pytest.mark.docker, pytest.mark.matrix]
Damage = Callable[[World], Any]


async def found(world: World) -> dict[str, validation.Result]:
    """Run the suite; return its results by check."""
    context = world.context
    report = await validation.run(["production"], context, context.outputs.url)
    print(report.text())
    return {result.check.id: result for result in report.results}


def no_recovery(world: World) -> None:
    world.context.aws.client("dynamodb").update_continuous_backups(
        TableName=world.context.outputs.state_table,
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": False},
    )


def a_world_open_port(world: World) -> None:
    world.context.aws.client("ec2").authorize_security_group_ingress(
        GroupId=world.context.outputs.security_group,
        IpPermissions=[
            {
                "IpProtocol": "tcp",
                "FromPort": 20,
                "ToPort": 25,
                "Ipv6Ranges": [{"CidrIpv6": "::/0"}],
            }
        ],
    )


def an_alarm_off(world: World) -> None:
    name = f"{world.context.env.prefix}-supervisor-cpu"
    world.context.aws.client("cloudwatch").disable_alarm_actions(AlarmNames=[name])


def no_alarm(world: World) -> None:
    name = f"{world.context.env.prefix}-supervisor-memory"
    world.context.aws.client("cloudwatch").delete_alarms(AlarmNames=[name])


def an_administrator(world: World) -> None:
    world.context.aws.client("iam").attach_role_policy(
        RoleName=f"{world.context.env.prefix}-supervisor-task",
        PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess",
    )


def no_key_rotation(world: World) -> None:
    kms = world.context.aws.client("kms")
    key = kms.describe_key(KeyId=f"alias/{world.context.env.prefix}-key")["KeyMetadata"]
    kms.disable_key_rotation(KeyId=key["KeyId"])


def short_logs(world: World) -> None:
    world.context.aws.client("logs").put_retention_policy(
        logGroupName=world.context.outputs.log_group, retentionInDays=1
    )


DAMAGES: dict[str, Damage] = {
    "recovery.point-in-time": no_recovery,
    "network.open-ports": a_world_open_port,
    "monitoring.actions": an_alarm_off,
    "monitoring.coverage": no_alarm,
    "iam.attached-policies": an_administrator,
    "encryption.keys": no_key_rotation,
    "monitoring.logs-retention": short_logs,
}


async def test_the_suite_passes_and_each_damage_is_found(world: World) -> None:
    assert (await world.deploy(world.images("good"))).ok
    context = world.context
    report = await validation.run(["production"], context, context.outputs.url)
    assert report.verdict is Verdict.PASSED, report.text()
    unread = {result.check.id for result in report.of(Status.NOT_EXAMINED)}
    assert unread == {name for name in NOT_THERE if not name.startswith("chaos.")}
    for damage in DAMAGES.values():
        damage(world)
    after = await found(world)
    failed = {name for name, result in after.items() if result.status is Status.FAIL}
    assert failed >= DAMAGES.keys()


#: How agents behave that lack CPU or memory, or answer late or with errors.
BEHAVIOURS = {
    "performance.latency": "lazy",
    "performance.errors": "failing",
    "performance.cpu": "busy",
    "performance.memory": "large",
}


async def test_what_agents_count_themselves_shows_which_work_badly(world: World) -> None:
    agents = [agent.name for agent in world.context.config.agents]
    wrong = dict(zip(BEHAVIOURS, agents, strict=False))
    images = {wrong[check].replace("-", "_"): mode for check, mode in BEHAVIOURS.items()}
    assert (await world.deploy(world.images("good", **images))).ok
    urls = [f"{world.context.url(agent)}/work" for agent in agents for _ in range(40)]
    await parallel(lambda url: elb.get(url, seconds=30), urls)
    report = await validation.run(["production"], world.context, world.context.outputs.url)
    after = {result.check.id: result for result in report.results}
    for check, agent in wrong.items():
        assert after[check].status is Status.FAIL, report.text()
        assert after[check].finding.observed.startswith(f"{agent}: "), report.text()
        assert ";" not in after[check].finding.observed, "the others are well"
