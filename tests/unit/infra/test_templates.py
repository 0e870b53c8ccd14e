"""The templates: clean, following acso.toml, and granting no more than is needed."""

import ast
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
from ci.aws.target import Target
from ci.config import Config, Environment, load
from ci.errors import ConfigError
from ci.infra import templates

ROOT = Path(__file__).parents[3]


def _target(aws: Aws, config: Config, environment: Environment | None = None) -> Target:
    chosen = environment or config.environment("development")
    return Target(aws=aws, config=config, environment=chosen)


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
    return load(ROOT / "tests" / "acso.toml")


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


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def actions(role: dict[str, Any]) -> set[str]:
    return {
        action
        for item in nodes(role["Policies"])
        if isinstance(item, dict) and "Action" in item
        for action in listed(item["Action"])
    }


def test_cfn_lint_finds_nothing(config: Config, tmp_path: Path) -> None:
    sixth = replace(config.agents[0], name="code-review", port=9000, health_path="/alive")
    agents = (*config.agents, sixth)
    for name, text in {
        "environment.yaml": templates.environment(agents),
        "registry.yaml": templates.registry(agents),
    }.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), *tmp_path.iterdir()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


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


#: Names whose checksums meet.
COLLIDING = ("agent-107", "agent-255")
#: Actions for which the Service Authorization Reference lists no narrower resource.
WITHOUT_RESOURCE = {
    "bedrock:ListFoundationModels",
    "ec2:DescribeAvailabilityZones",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "cloudwatch:PutMetricData",
    "ecr:GetAuthorizationToken",
    "ecs:DeregisterTaskDefinition",
    "ecs:DescribeTaskDefinition",
    "ecs:ListServices",  # narrowed by a condition
    "ecs:ListTaskDefinitions",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetHealth",
    "iam:ListOpenIDConnectProviders",
    "logs:DescribeLogGroups",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
}


def test_every_resource_is_named_but_where_aws_has_no_narrower_one(config: Config) -> None:
    resources = parsed(templates.environment(config.agents))["Resources"]
    # In a key's own policy, "*" is that key.
    del resources["Key"]
    found = statements({"Resources": resources})
    assert len(found) > 10
    for statement in found:
        if "*" in listed(statement.get("Resource")):
            assert set(listed(statement["Action"])) <= WITHOUT_RESOURCE, statement


def test_no_statement_allows_every_action_but_the_account_its_own_key(config: Config) -> None:
    for statement in statements(parsed(templates.environment(config.agents))):
        for action in listed(statement["Action"]):
            service, _, name = action.partition(":")
            assert name != "*" or (service == "kms" and statement["Sid"] == "Account")


def test_execution_and_task_roles_are_apart(config: Config) -> None:
    resources = parsed(templates.environment(config.agents))["Resources"]
    task = resources["Fn::ForEach::TaskRoles"][2]["TaskRole${Agent}"]["Properties"]
    execution = resources["ExecutionRole"]["Properties"]

    assert not actions(task) & actions(execution)
    assert not any(action.startswith(("ecr:", "logs:")) for action in actions(task))


def test_everything_that_rests_is_encrypted_with_the_environment_s_key(config: Config) -> None:
    resources = parsed(templates.environment(config.agents))["Resources"]
    key = {"Fn::GetAtt": "Key.Arn"}
    assert resources["Logs"]["Properties"]["KmsKeyId"] == key
    for table in ("AgentState", "Releases"):
        properties = resources[table]["Properties"]
        assert properties["SSESpecification"] == {
            "SSEEnabled": True,
            "SSEType": "KMS",
            "KMSMasterKeyId": key,
        }
        assert properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
    assert resources["Alerts"]["Properties"]["KmsMasterKeyId"] == {"Ref": "Key"}
    assert resources["Key"]["Properties"]["EnableKeyRotation"] is True


def test_tasks_roles_are_for_this_account_s_tasks_alone(config: Config) -> None:
    resources = parsed(templates.environment(config.agents))["Resources"]
    task = resources["Fn::ForEach::TaskRoles"][2]["TaskRole${Agent}"]
    for role in (task, resources["ExecutionRole"]):
        (statement,) = role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
        # Without it another account's ECS could be talked into using the role.
        mine = {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
        assert statement["Condition"] == mine


def test_an_agent_writes_metrics_of_the_agents_alone(config: Config) -> None:
    found = statements(parsed(templates.environment(config.agents)))
    (statement,) = (item for item in found if item["Action"] == "cloudwatch:PutMetricData")
    assert statement["Condition"] == {"StringEquals": {"cloudwatch:namespace": "ACSO/Agents"}}


def test_every_agent_has_alarms_that_somebody_hears(config: Config) -> None:
    template = parsed(templates.environment(config.agents))["Resources"]
    alarms = template["Fn::ForEach::Alarms"][2]
    watched = {}
    for name, alarm in alarms.items():
        properties = alarm["Properties"]
        assert properties["AlarmActions"] == [{"Ref": "Alerts"}], name
        watched[properties["MetricName"]] = (properties["Namespace"], properties["Threshold"])
    assert watched == {
        "UnHealthyHostCount": ("AWS/ApplicationELB", 0),
        "HTTPCode_Target_5XX_Count": ("AWS/ApplicationELB", 5),
        "CPUUtilization": ("AWS/ECS", 80),
        "MemoryUtilization": ("AWS/ECS", 80),
    }
    insights = [{"Name": "containerInsights", "Value": "enabled"}]
    assert template["Cluster"]["Properties"]["ClusterSettings"] == insights


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
    for group in ("LoadBalancerSecurity", "TaskSecurity"):
        ingress = resources[group]["Properties"]["SecurityGroupIngress"]
        opened = [item["FromPort"] for item in ingress if "0.0.0.0/0" in item.values()]
        assert opened == ([80] if group == "LoadBalancerSecurity" else [])
    (egress,) = resources["LoadBalancerSecurity"]["Properties"]["SecurityGroupEgress"]
    for let in (rule, egress):
        assert (let["FromPort"], let["ToPort"]) == ({"Ref": "FirstPort"}, {"Ref": "LastPort"})


def test_security_groups_let_the_agents_ports_pass(config: Config) -> None:
    sixth = replace(config.agents[0], name="code-review", port=9000)
    more = replace(config, agents=(*config.agents, sixth))
    found = templates.parameters(_target(Aws(region="r"), more, config.environment("staging")))
    assert (found["FirstPort"], found["LastPort"]) == ("8000", "9000")


def test_every_parameter_is_given(config: Config) -> None:
    # An omitted one would mean its default, and a stack could not be compared with what is wanted.
    aws = Aws(region="r")
    declared = set(parsed(templates.environment(config.agents))["Parameters"])
    assert declared == set(
        templates.parameters(_target(aws, config, config.environment("staging")))
    )
    declared = set(parsed(templates.registry(config.agents))["Parameters"])
    assert declared == set(templates.registry_parameters(_target(aws, config), provider=True))


def test_what_the_embedded_aws_lacks_is_left_out_there_alone(config: Config) -> None:
    environment = config.environment("development")
    there = templates.parameters(_target(Aws(region="r", endpoint="http://x"), config, environment))
    aws = templates.parameters(_target(Aws(region="r"), config, environment))
    assert (there["Embedded"], aws["Embedded"]) == ("true", "false")
    both = (templates.environment(config.agents), templates.registry(config.agents))
    resources = {k: v for text in both for k, v in parsed(text)["Resources"].items()}
    lacking = ("AWS::EC2::NatGateway", "AWS::EC2::EIP", "AWS::IAM::OIDCProvider")
    for item in resources.values():
        if isinstance(item, dict) and item["Type"] in lacking:
            assert item["Condition"] in ("OnAws", "FromGitHub")


#: What changes infrastructure itself is an administrator's.
ADMINISTRATORS = {
    "cloudformation:DeleteStack",
    "cloudformation:ExecuteChangeSet",
    "cloudformation:UpdateTerminationProtection",
}
NOTHING = {"Ref": "AWS::NoValue"}
PREFIXES = {"elbv2": "elasticloadbalancing"}


#: Tried with the execution role's own keys, where somebody may have them; never with CI's.
EXECUTION_ROLE_S = {"secretsmanager:GetSecretValue", "ssm:GetParameters"}


def called(source: str) -> set[str]:
    """Return the actions of IAM that a module's calls of `aws.call` and `aws.pages` need."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        texts = [item.value for item in node.args[:2] if isinstance(item, ast.Constant)]
        if node.func.attr in ("call", "pages") and len(texts) == 2:
            service, operation = map(str, texts)
            name = "".join(word.capitalize() for word in operation.split("_"))
            found.add(f"{PREFIXES.get(service, service)}:{name}")
    return found


def test_the_deploy_role_may_do_whatever_the_pipeline_calls(config: Config) -> None:
    modules = [*(ROOT / "ci/aws").glob("*.py"), *(ROOT / "validation").glob("*.py")]
    needed = set().union(*(called(path.read_text()) for path in modules))
    # Who one is, and becoming somebody, need no permission of the role's own.
    needed = {action for action in needed if not action.startswith("sts:")}
    assert {"ecs:UpdateService", "dynamodb:PutItem", "cloudformation:CreateChangeSet"} <= needed
    resources = parsed(templates.environment(config.agents))["Resources"]
    granted = actions(resources["DeployRole"]["Properties"])
    # IAM takes an action's name in any case: boto3's operations do not tell where Id is ID.
    granted_any_case = {action.casefold() for action in granted}
    lacking = {action for action in needed if action.casefold() not in granted_any_case}
    assert lacking == (ADMINISTRATORS | EXECUTION_ROLE_S) & needed
    assert not granted & (ADMINISTRATORS | EXECUTION_ROLE_S)


def test_commands_in_tasks_are_allowed_where_acso_toml_says_so_alone(config: Config) -> None:
    template = parsed(templates.environment(config.agents))
    conditional = [
        item["Fn::If"]
        for item in nodes(template["Resources"])
        if isinstance(item, dict) and "ExecOn" in listed(item.get("Fn::If"))
    ]
    allowed = {
        action for item in conditional for action in listed(item[1]["Action"]) if item[2] == NOTHING
    }
    assert allowed == {"ecs:ExecuteCommand"} | {
        action for action in WITHOUT_RESOURCE if action.startswith("ssmmessages:")
    }
    others = [item for item in statements(template) if item not in [c[1] for c in conditional]]
    assert not allowed & {action for item in others for action in listed(item["Action"])}
    assert template["Conditions"]["ExecOn"] == {"Fn::Equals": [{"Ref": "Exec"}, "true"]}
    env = config.environment("staging")
    aws = Aws(region=env.region)
    on, off = replace(env, ecs_exec=True), replace(env, ecs_exec=False)
    given = [templates.parameters(_target(aws, config, item))["Exec"] for item in (on, off)]
    assert given == ["true", "false"]


def test_roles_for_github_trust_exact_subjects_of_tokens_for_aws(config: Config) -> None:
    resources = parsed(templates.environment(config.agents))["Resources"]
    subject, audience = (f"token.actions.githubusercontent.com:{key}" for key in ("sub", "aud"))
    for role, given in {"DeployRole": "Subjects", "PromoteRole": "PromotionSubjects"}.items():
        (statement,) = resources[role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        # `StringLike` would take a "*" or "?" of a subject for a wildcard.
        assert statement["Condition"] == {
            "StringEquals": {audience: "sts.amazonaws.com", subject: {"Ref": given}}
        }
        assert list(statement["Principal"]) == ["Federated"]


def test_the_promote_role_reads_what_a_promotion_reads_and_nothing_else(config: Config) -> None:
    resources = parsed(templates.environment(config.agents))["Resources"]
    role = resources["PromoteRole"]["Properties"]
    granted = actions(role)
    assert granted == {
        "cloudformation:DescribeStacks",
        "dynamodb:GetItem",
        "dynamodb:Query",
        "ecr:BatchGetImage",
        "ecr:DescribeImages",
        "ecr:GetDownloadUrlForLayer",
        "kms:Decrypt",
        "kms:DescribeKey",
    }
    assert granted < actions(resources["DeployRole"]["Properties"])
    found = {item["Sid"]: item for item in statements({"Resources": role["Policies"]})}
    assert found["Records"]["Resource"] == {"Fn::GetAtt": "Releases.Arn"}
    assert found["Stack"]["Resource"]["Fn::Sub"].endswith(":stack/acso-${Environment}/*")
    assert found["Images"]["Resource"]["Fn::Sub"].endswith(":repository/acso-*")
    through = found["KeyOfRecords"]["Condition"]["StringEquals"]["kms:ViaService"]
    assert through == {"Fn::Sub": "dynamodb.${AWS::Region}.amazonaws.com"}


def test_data_is_kept_in_production_alone(config: Config) -> None:
    template = parsed(templates.environment(config.agents))
    production = {"Fn::Equals": [{"Ref": "Environment"}, "production"]}
    assert template["Conditions"]["KeepData"] == production
    for name in ("Key", "Logs", "AgentState", "Releases"):
        resource = template["Resources"][name]
        # A first application that fails keeps nothing: what it kept would be in the next one's way.
        kept = {"Fn::If": ["KeepData", "RetainExceptOnCreate", "Delete"]}
        assert resource["DeletionPolicy"] == kept
        assert resource["UpdateReplacePolicy"] == {"Fn::If": ["KeepData", "Retain", "Delete"]}


def test_agents_of_one_priority_are_refused_by_name(config: Config) -> None:
    one, other = (replace(config.agents[0], name=name) for name in COLLIDING)
    with pytest.raises(ConfigError, match=f"{COLLIDING[0]} and {COLLIDING[1]}"):
        templates.environment((one, other))


def test_a_role_that_trusts_nobody_is_not_made(config: Config) -> None:
    mine = replace(config, project=replace(config.project, repository="o/acso"))

    def given(settings: Config, name: str, **changes: Any) -> tuple[str, str]:
        environment = replace(settings.environment(name), **changes)
        found = templates.parameters(_target(Aws(region="r"), settings, environment))
        return found["Subjects"], found["PromotionSubjects"]

    branch, environment = "repo:o/acso:ref:refs/heads/main", "repo:o/acso:environment:production"
    assert given(mine, "staging") == (branch, environment)
    assert given(mine, "staging", branch=None) == ("", environment)
    assert given(mine, "production") == (environment, "")
    assert given(config, "staging") == ("", "")
    conditions = parsed(templates.environment(config.agents))["Conditions"]
    resources = parsed(templates.environment(config.agents))["Resources"]
    for role, parameter in {"DeployRole": "Subjects", "PromoteRole": "PromotionSubjects"}.items():
        joined = {"Fn::Join": ["", {"Ref": parameter}]}
        condition = conditions[resources[role]["Condition"]]
        assert condition == {"Fn::Not": [{"Fn::Equals": [joined, ""]}]}


def test_an_identity_provider_of_somebody_else_s_is_not_made_again(config: Config) -> None:
    mine = replace(config, project=replace(config.project, repository="o/acso"))
    aws = Aws(region="r")
    assert (
        templates.registry_parameters(_target(aws, mine), provider=True)["Repository"] == "o/acso"
    )
    assert templates.registry_parameters(_target(aws, mine), provider=False)["Repository"] == ""
