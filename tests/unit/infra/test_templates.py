"""The templates: clean, following acso.toml, and granting no more than is needed."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci.aws.session import Aws
from ci.config import Config, load
from ci.infra import templates

ROOT = Path(__file__).parents[3]


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short functions."""


def _function(loader: Loader, suffix: str, node: yaml.Node) -> Any:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {name: loader.construct_mapping(node, deep=True)}


Loader.add_multi_constructor("!", _function)


@pytest.fixture(scope="module")
def config() -> Config:
    return load(ROOT / "acso.toml")


def parsed(text: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(text, Loader)  # noqa: S506 (derived from the safe loader)
    return loaded


def nodes(value: Any) -> Iterator[Any]:
    yield value
    children = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list):
        for child in children:
            yield from nodes(child)


def statements(template: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        item for item in nodes(template["Resources"]) if isinstance(item, dict) and "Effect" in item
    ]


def test_cfn_lint_finds_nothing(config: Config, tmp_path: Path) -> None:
    for name, text in {
        "environment.yaml": templates.environment(config.agents),
        "registry.yaml": templates.registry(config.agents),
    }.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), *tmp_path.iterdir()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_a_sixth_agent_needs_an_entry_and_nothing_else(config: Config) -> None:
    sixth = replace(config.agents[0], name="code-review", port=9000, health_path="/alive")
    text = templates.environment((*config.agents, sixth))
    found = parsed(text)["Mappings"]["Agents"]["codereview"]
    assert (found["Name"], found["Port"], found["HealthPath"]) == ("code-review", "9000", "/alive")


def test_adding_an_agent_moves_no_other_agent_s_rule(config: Config) -> None:
    before = templates.mapping(config.agents)
    after = templates.mapping((replace(config.agents[0], name="aaa"), *config.agents))
    assert {key: after[key] for key in before} == before
    priorities = [int(item["Priority"]) for item in after.values()]
    assert len(set(priorities)) == len(priorities)
    assert all(1 <= priority <= 50_000 for priority in priorities)


def test_no_fixed_name_stands_in_both_stacks(config: Config) -> None:
    # AWS refuses the second stack that names a resource which exists; the embedded AWS does not.
    def names(text: str) -> set[str]:
        return {
            json.dumps(value)
            for item in nodes(parsed(text)["Resources"])
            if isinstance(item, dict)
            for key, value in item.items()
            if key == "Url" or (key.endswith("Name") and key not in ("Name", "AttributeName"))
        }

    registry = names(templates.registry(config.agents))
    assert registry
    assert not registry & names(templates.environment(config.agents))


#: Actions for which the Service Authorization Reference lists no narrower resource.
WITHOUT_RESOURCE = {
    "bedrock:ListFoundationModels",
    "cloudwatch:PutMetricData",
    "ecr:GetAuthorizationToken",
    "ecs:DescribeTaskDefinition",
    "ecs:RegisterTaskDefinition",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeTargetHealth",
    "logs:DescribeLogGroups",
}


def test_every_resource_is_named_but_where_aws_has_no_narrower_one(config: Config) -> None:
    found = statements(parsed(templates.environment(config.agents)))
    assert len(found) > 10
    for statement in found:
        if statement.get("Resource") != "*" or statement.get("Sid") in ("Account", "Alarms"):
            continue
        actions = statement["Action"]
        actions = {actions} if isinstance(actions, str) else set(actions)
        in_key_policy = all(action.startswith("kms:") for action in actions)
        assert in_key_policy or actions <= WITHOUT_RESOURCE, statement


def test_no_statement_allows_every_action_but_the_account_its_own_key(config: Config) -> None:
    for statement in statements(parsed(templates.environment(config.agents))):
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            service, _, name = action.partition(":")
            assert name != "*" or (service == "kms" and statement["Sid"] == "Account")


def test_execution_and_task_roles_are_apart(config: Config) -> None:
    resources = parsed(templates.environment(config.agents))["Resources"]
    task = resources["Fn::ForEach::TaskRoles"][2]["TaskRole${Agent}"]["Properties"]
    execution = resources["ExecutionRole"]["Properties"]

    def actions(role: dict[str, Any]) -> set[str]:
        found: set[str] = set()
        for item in nodes(role["Policies"]):
            if isinstance(item, dict) and "Action" in item:
                value = item["Action"]
                found |= {value} if isinstance(value, str) else set(value)
        return found

    assert not actions(task) & actions(execution)
    assert not any(action.startswith(("ecr:", "logs:")) for action in actions(task))


def test_everything_that_rests_is_encrypted_with_the_environment_s_key(config: Config) -> None:
    resources = parsed(templates.environment(config.agents))["Resources"]
    key = {"Fn::GetAtt": "Key.Arn"}
    assert resources["Logs"]["Properties"]["KmsKeyId"] == key
    for table in ("AgentState", "Releases"):
        properties = resources[table]["Properties"]
        assert properties["SSESpecification"]["KMSMasterKeyId"] == key
        assert properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
    assert resources["Alerts"]["Properties"]["KmsMasterKeyId"] == {"Ref": "Key"}


def test_repositories_are_immutable_scanned_and_kept(config: Config) -> None:
    loop = parsed(templates.registry(config.agents))["Resources"]["Fn::ForEach::Repositories"]
    repository = loop[2]["Repository${Agent}"]
    assert repository["DeletionPolicy"] == "RetainExceptOnCreate"
    properties = repository["Properties"]
    assert properties["ImageTagMutability"] == "IMMUTABLE"
    assert properties["ImageScanningConfiguration"] == {"ScanOnPush": True}
    rules = json.loads(properties["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    assert {rule["action"]["type"] for rule in rules} == {"expire"}


def test_tasks_are_reached_from_the_load_balancer_alone(config: Config) -> None:
    resources = parsed(templates.environment(config.agents))["Resources"]
    (rule,) = resources["TaskSecurity"]["Properties"]["SecurityGroupIngress"]
    assert rule["SourceSecurityGroupId"] == {"Fn::GetAtt": "LoadBalancerSecurity.GroupId"}
    opened = [
        item["FromPort"]
        for item in resources["LoadBalancerSecurity"]["Properties"]["SecurityGroupIngress"]
        if item["CidrIp"] == "0.0.0.0/0"
    ]
    assert opened == [80]


def test_what_the_embedded_aws_lacks_is_left_out_there_alone(config: Config) -> None:
    environment = config.environment("development")
    there = templates.parameters(Aws(region="r", endpoint="http://x"), config, environment)
    aws = templates.parameters(Aws(region="r"), config, environment)
    assert (there["Embedded"], aws["Embedded"]) == ("true", "false")
    both = (templates.environment(config.agents), templates.registry(config.agents))
    resources = {k: v for text in both for k, v in parsed(text)["Resources"].items()}
    lacking = ("AWS::EC2::NatGateway", "AWS::EC2::EIP", "AWS::IAM::OIDCProvider")
    for item in resources.values():
        if isinstance(item, dict) and item["Type"] in lacking:
            assert item["Condition"] in ("OnAws", "FromGitHub")


def test_only_the_environment_s_own_branch_may_deploy_it(config: Config) -> None:
    def ref(name: str) -> str:
        return templates.parameters(Aws(region="r"), config, config.environment(name))["Ref"]

    assert ref("staging") == "ref:refs/heads/main"
    assert ref("production") == "ref:refs/tags/*"
