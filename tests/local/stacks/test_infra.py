"""The stacks on the embedded AWS: apply, preview, change, repair and delete them."""

import dataclasses
import datetime
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from types import MappingProxyType

import anyio
import pytest

from ci import infra
from ci.aws import cloudformation, ecs
from ci.aws.session import Aws
from ci.aws.target import Target
from ci.config import Config, Environment, load
from ci.errors import AwsError, InfrastructureError
from ci.infra.stacks import changes as changes_of
from ci.infra.stacks import create_or_update

pytestmark = pytest.mark.docker
ROOT = Path(__file__).parents[3]
BROKEN = """
Resources:
  Topic:
    Type: AWS::SNS::Topic
    Properties: {TopicName: acso-broken}
  Rule:
    Type: AWS::ElasticLoadBalancingV2::ListenerRule
    DependsOn: Topic
    Properties:
      ListenerArn: arn:aws:elasticloadbalancing:us-east-1:000000000000:listener/app/none/0/0
      Priority: 1
      Conditions: [{Field: path-pattern, Values: [/x]}]
      Actions: [{Type: fixed-response, FixedResponseConfig: {StatusCode: "404"}}]
"""
#: Waits a second for a signal that never comes.
NEVER_DONE = """
Resources:
  Handle: {Type: AWS::CloudFormation::WaitConditionHandle}
  Wait:
    Type: AWS::CloudFormation::WaitCondition
    Properties: {Handle: !Ref Handle, Timeout: "1"}
"""
GOOD = """
Resources:
  Topic:
    Type: AWS::SNS::Topic
    Properties: {TopicName: acso-good}
"""


def _target(aws: Aws, config: Config, environment: Environment | None = None) -> Target:
    chosen = environment or config.environment("development")
    return Target(aws=aws, config=config, env=chosen)


@pytest.fixture
def config() -> Config:
    return load(ROOT / "tests" / "acso.toml")


@pytest.fixture
async def env(aws: Aws, config: Config) -> AsyncIterator[Environment]:
    """An environment whose stack is applied, and deleted afterwards."""
    environment = config.environment("development")
    await infra.apply_registry(_target(aws, config), print)
    await infra.apply(_target(aws, config, environment), print)
    yield environment
    await infra.delete(_target(aws, config, environment), print)
    assert await infra.outputs(_target(aws, config, environment)) is None


def silent(_: str) -> None: ...


async def test_an_environment_has_a_target_group_and_a_role_for_every_agent(
    aws: Aws, config: Config, env: Environment
) -> None:
    found = await infra.outputs(_target(aws, config, env))
    assert found is not None
    names = {agent.name for agent in config.agents}
    assert set(found.target_groups) == set(found.task_roles) == names
    assert len(set(found.target_groups.values())) == len(names)
    assert found.execution_role not in found.task_roles.values()
    assert found.cluster == "acso-development-cluster"
    assert found.url.endswith("/_alb/acso-development-alb")


async def test_the_load_balancer_routes_each_agent_s_path_and_no_other(
    aws: Aws, config: Config, env: Environment
) -> None:
    found = await infra.outputs(_target(aws, config, env))
    assert found is not None
    balancer = await aws.call("elbv2", "describe_load_balancers", Names=[found.load_balancer_name])
    arn = balancer["LoadBalancers"][0]["LoadBalancerArn"]
    listeners = await aws.call("elbv2", "describe_listeners", LoadBalancerArn=arn)
    listener = listeners["Listeners"][0]["ListenerArn"]
    rules = (await aws.call("elbv2", "describe_rules", ListenerArn=listener))["Rules"]
    paths = {
        rule["Conditions"][0]["PathPatternConfig"]["Values"][0]: rule["Actions"][0][
            "TargetGroupArn"
        ]
        for rule in rules
        if not rule["IsDefault"]
    }
    assert paths == {f"/{agent}/*": group for agent, group in found.target_groups.items()}
    with pytest.raises(urllib.error.HTTPError) as caught:
        await anyio.to_thread.run_sync(urllib.request.urlopen, f"{found.url}/nobody/health")
    assert caught.value.code == 404
    assert json.load(caught.value) == {"detail": "no agent has this path"}
    caught.value.close()


async def test_every_agent_has_its_alarms_and_logs_are_encrypted_and_expire(
    aws: Aws, config: Config, env: Environment
) -> None:
    found = await infra.outputs(_target(aws, config, env))
    assert found is not None
    alarms = await aws.pages("cloudwatch", "describe_alarms", "MetricAlarms")
    mine = {alarm["AlarmName"] for alarm in alarms if alarm["AlarmActions"] == [found.topic]}
    kinds = ("unhealthy", "errors", "latency", "cpu", "memory")
    assert mine == {f"{env.service(agent)}-{kind}" for agent in config.agents for kind in kinds}
    (group,) = await aws.pages(
        "logs", "describe_log_groups", "logGroups", logGroupNamePrefix=found.log_group
    )
    assert (group["kmsKeyId"], group["retentionInDays"]) == (found.kms_key, env.log_retention)


async def test_applying_again_changes_nothing(aws: Aws, config: Config, env: Environment) -> None:
    before = await infra.outputs(_target(aws, config, env))
    lines: list[str] = []
    await infra.apply_registry(_target(aws, config), lines.append)
    assert await infra.apply(_target(aws, config, env), lines.append) == before
    assert lines == []
    assert await infra.preview(_target(aws, config, env)) == []
    assert await cloudformation.change_sets(aws, env.prefix) == {}


async def test_a_change_is_previewed_before_it_is_applied(
    aws: Aws, config: Config, env: Environment
) -> None:
    longer = dataclasses.replace(env, log_retention=90)

    async def retention() -> int:
        groups = await aws.call("logs", "describe_log_groups", logGroupNamePrefix=env.log_group)
        return int(groups["logGroups"][0]["retentionInDays"])

    changes = {
        change.logical_id: change.action
        for change in await infra.preview(_target(aws, config, longer))
    }
    # What refers to the group's ARN may change with it, as on AWS.
    assert changes["Logs"] == "Modify"
    assert set(changes.values()) == {"Modify"}
    assert await retention() == 7
    await infra.apply(_target(aws, config, longer), print)
    assert await retention() == 90


async def test_another_agent_adds_its_resources_and_changes_no_other(
    aws: Aws, config: Config, env: Environment
) -> None:
    another = dataclasses.replace(config.agents[1], name="code-review")
    more = dataclasses.replace(
        config,
        agents=(*config.agents, another),
        environments=MappingProxyType(dict(config.environments)),
    )
    changes = await infra.preview(_target(aws, more, env))
    assert {change.action for change in changes} == {"Add"}
    assert {"Repositorycodereview", "TaskRolecodereview"} <= {c.logical_id for c in changes}


async def test_a_preview_of_a_new_environment_leaves_no_stack(aws: Aws, config: Config) -> None:
    staging = config.environment("staging")
    changes = await infra.preview(_target(aws, config, staging))
    assert {"Vpc", "Cluster", "Releases"} <= {change.logical_id for change in changes}
    assert {change.action for change in changes} == {"Add"}
    assert await infra.outputs(_target(aws, config, staging)) is None
    assert await cloudformation.stack(aws, staging.prefix) is None


async def test_the_error_of_a_failed_creation_names_the_resource_and_a_retry_succeeds(
    aws: Aws,
) -> None:
    broken = cloudformation.DesiredStack(name="broken", template=BROKEN, parameters={})
    with pytest.raises(InfrastructureError, match=r"Rule .*ListenerRule"):
        await create_or_update(aws, broken, silent)
    # What the failure left blocks neither a preview nor a retry once the cause is fixed.
    wanted = cloudformation.DesiredStack(name="broken", template=GOOD, parameters={})
    assert [change.logical_id for change in await changes_of(aws, wanted)] == ["Topic"]
    assert await cloudformation.stack(aws, "broken-preview") is None
    assert (await create_or_update(aws, wanted, silent)).status == "CREATE_COMPLETE"


async def test_a_failed_update_is_rolled_back_and_can_be_retried(aws: Aws) -> None:
    good = cloudformation.DesiredStack(name="old", template=GOOD, parameters={})
    await create_or_update(aws, good, silent)
    with pytest.raises(InfrastructureError, match="Rule"):
        await create_or_update(aws, dataclasses.replace(good, template=BROKEN), silent)
    found = await cloudformation.stack(aws, "old")
    assert found is not None
    assert found.status == "UPDATE_ROLLBACK_COMPLETE"
    assert await changes_of(aws, good) == []
    renamed = GOOD.replace("acso-good", "acso-better")
    fixed = await create_or_update(aws, dataclasses.replace(good, template=renamed), silent)
    assert fixed.status == "UPDATE_COMPLETE"


async def test_a_refused_template_leaves_no_stack(aws: Aws) -> None:
    refused = cloudformation.DesiredStack(
        name="refused", template=GOOD.replace("AWS::SNS::Topic", "AWS::No::Such"), parameters={}
    )
    with pytest.raises((InfrastructureError, AwsError), match="AWS::No::Such"):
        await create_or_update(aws, refused, silent)
    assert await cloudformation.stack(aws, "refused") is None


async def test_a_stack_in_review_of_a_killed_run_is_created(aws: Aws) -> None:
    left = cloudformation.DesiredStack(name="left", template=GOOD, parameters={})
    await cloudformation.create_change_set(aws, left, "acso-left", new=True)
    found = await cloudformation.stack(aws, "left")
    assert found is not None
    assert found.status == "REVIEW_IN_PROGRESS"
    assert (await create_or_update(aws, left, silent)).status == "CREATE_COMPLETE"


async def test_the_failed_creation_of_a_killed_run_is_waited_for_and_replaced(aws: Aws) -> None:
    begun = cloudformation.DesiredStack(name="begun", template=NEVER_DONE, parameters={})
    await cloudformation.create_change_set(aws, begun, "acso-begun", new=True)
    await cloudformation.execute_change_set(aws, "begun", "acso-begun")
    found = await cloudformation.stack(aws, "begun")
    assert found is not None
    assert found.busy
    lines: list[str] = []
    wanted = dataclasses.replace(begun, template=GOOD)
    assert (await create_or_update(aws, wanted, lines.append)).status == "CREATE_COMPLETE"
    assert lines[0] == "begun: waiting for CREATE_IN_PROGRESS of an earlier run"
    assert "begun: ROLLBACK_COMPLETE; deleting it and creating it again" in lines
    assert any(line.startswith("Wait CREATE_FAILED: ") for line in lines)


async def test_a_change_set_that_a_killed_run_left_is_removed(
    aws: Aws, config: Config, env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = cloudformation.DesiredStack(name=env.prefix, template=GOOD, parameters={})
    await cloudformation.create_change_set(aws, left, "acso-left", new=False)
    # It may belong to another run, so it is kept until it is too old for that.
    await infra.apply(_target(aws, config, env), silent)
    assert set(await cloudformation.change_sets(aws, env.prefix)) == {"acso-left"}
    monkeypatch.setattr("ci.infra.stacks.STALE", datetime.timedelta(0))
    await infra.apply(_target(aws, config, env), silent)
    assert await cloudformation.change_sets(aws, env.prefix) == {}


async def test_production_is_protected_and_keeps_its_data(aws: Aws, config: Config) -> None:
    production = config.environment("production")
    await infra.apply(_target(aws, config, production), silent)
    assert await infra.preview(_target(aws, config, production)) == []
    with pytest.raises(InfrastructureError, match="acso-production is protected"):
        await infra.delete(_target(aws, config, production), silent)
    assert await infra.outputs(_target(aws, config, production)) is not None

    async def tables() -> list[str]:
        return await aws.pages("dynamodb", "list_tables", "TableNames")

    kept = {f"acso-production-{name}" for name in ("releases", "agent-state", "agents")}
    await cloudformation.protect(aws, production.prefix, protected=False)
    await infra.delete(_target(aws, config, production), silent)
    assert kept == set(await tables())


async def test_an_environment_with_services_is_not_deleted(
    aws: Aws, config: Config, env: Environment
) -> None:
    name = env.service(config.agents[0])
    containers = [{"name": "c", "image": "none", "memory": 64}]
    await aws.call("ecs", "register_task_definition", family=name, containerDefinitions=containers)
    await ecs.create_service(
        aws,
        {"cluster": env.cluster, "serviceName": name, "taskDefinition": name, "desiredCount": 0},
    )
    with pytest.raises(InfrastructureError, match=name):
        await infra.delete(_target(aws, config, env), silent)
    assert await infra.outputs(_target(aws, config, env)) is not None
    await ecs.delete_service(aws, env.cluster, name)
