"""The permissions in the templates: no more than is needed, and all that is."""

from dataclasses import replace
from typing import Any

from ci.aws.session import Aws
from ci.config import Config
from ci.infra import parameters, templates
from tests.unit.infra import permissions
from tests.unit.infra.parsing import ROOT, actions, listed, nodes, parsed, statements, target

#: Changes of infrastructure are left to administrators.
ADMINISTRATORS = {
    "cloudformation:DeleteStack",
    "cloudformation:ExecuteChangeSet",
    "cloudformation:UpdateTerminationProtection",
    # A release reads the tokens of the agents' callers for its validation, and changes none.
    "secretsmanager:DescribeSecret",
    "secretsmanager:PutSecretValue",
    "secretsmanager:UpdateSecretVersionStage",
    # Some experiments change a role or a listener, and no release does.
    "elasticloadbalancing:CreateRule",
    "elasticloadbalancing:DeleteRule",
    "elasticloadbalancing:DescribeRules",
    "iam:DeleteRolePolicy",
    "iam:GetRolePolicy",
    "iam:PutRolePolicy",
}
NOTHING = {"Ref": "AWS::NoValue"}

#: Called as the execution role, if the caller may assume it; never as CI's role.
AS_EXECUTION_ROLE = {"ssm:GetParameters"}
#: Actions for which the Service Authorization Reference lists no narrower resource.
WITHOUT_RESOURCE = {
    "access-analyzer:ValidatePolicy",
    "application-autoscaling:DescribeScalableTargets",
    "application-autoscaling:DescribeScalingPolicies",
    "cloudwatch:DescribeAlarms",
    "cloudwatch:GetMetricData",
    "dynamodb:ListTables",
    "ec2:DescribeAvailabilityZones",
    "ec2:DescribeNatGateways",
    "ec2:DescribeRouteTables",
    "ec2:DescribeVpcEndpoints",
    "elasticloadbalancing:DescribeListeners",
    "iam:GetAccountAuthorizationDetails",
    "s3:ListAllMyBuckets",
    "secretsmanager:ListSecrets",
    "sns:ListTopics",
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
    "sqs:ListQueues",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
}


def test_every_statement_names_its_resource_where_aws_allows_it(config: Config) -> None:
    resources = parsed(templates.environment(config.agents))["Resources"]
    # In a key's own policy, "*" is that key.
    del resources["Key"]
    found = statements({"Resources": resources})
    assert len(found) > 10
    for statement in found:
        if "*" in listed(statement.get("Resource")):
            assert set(listed(statement["Action"])) <= WITHOUT_RESOURCE, statement


def test_only_the_key_s_own_policy_allows_every_action(config: Config) -> None:
    for statement in statements(parsed(templates.environment(config.agents))):
        for action in listed(statement["Action"]):
            service, _, name = action.partition(":")
            if statement["Effect"] == "Deny":
                continue  # of requests without TLS
            assert name != "*" or (service == "kms" and statement["Sid"] == "Account")


def test_execution_and_task_roles_are_apart(config: Config) -> None:
    resources = parsed(templates.environment(config.agents))["Resources"]
    task = resources["Fn::ForEach::TaskRoles"][2]["TaskRole${Agent}"]["Properties"]
    execution = resources["ExecutionRole"]["Properties"]

    assert not actions(task) & actions(execution)
    assert not any(action.startswith(("ecr:", "logs:")) for action in actions(task))


def test_task_roles_trust_only_tasks_of_this_account(config: Config) -> None:
    resources = parsed(templates.environment(config.agents))["Resources"]
    task = resources["Fn::ForEach::TaskRoles"][2]["TaskRole${Agent}"]
    for role in (task, resources["ExecutionRole"]):
        (statement,) = role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
        # Without it another account's ECS could be talked into using the role.
        mine = {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
        assert statement["Condition"] == mine


def test_an_agent_writes_only_metrics_of_the_agents(config: Config) -> None:
    found = statements(parsed(templates.environment(config.agents)))
    (statement,) = (item for item in found if item["Action"] == "cloudwatch:PutMetricData")
    assert statement["Condition"] == {"StringEquals": {"cloudwatch:namespace": "ACSO/Agents"}}


def test_the_deploy_role_may_do_whatever_the_pipeline_calls() -> None:
    # Who one is, and becoming somebody, need no permission of the role's own.
    needed = {action for action in permissions.called() if not action.startswith("sts:")}
    assert {"ecs:UpdateService", "dynamodb:PutItem", "cloudformation:CreateChangeSet"} <= needed
    granted = permissions.granted()
    assert needed - granted == (ADMINISTRATORS | AS_EXECUTION_ROLE) & needed
    assert not granted & (ADMINISTRATORS | AS_EXECUTION_ROLE)


def test_every_action_of_the_deploy_role_is_documented_with_what_needs_it() -> None:
    unexplained = permissions.granted() - permissions.called().keys() - permissions.OTHERS.keys()
    assert unexplained == set()
    assert permissions.OTHERS.keys() <= permissions.granted()
    assert (ROOT / "docs/permissions.md").read_text() == permissions.table()


def test_ecs_exec_is_allowed_only_where_acso_toml_says_so(config: Config) -> None:
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
    given = [
        parameters.environment_parameters(target(aws, config, item))["Exec"] for item in (on, off)
    ]
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
    assert through == {"Fn::Sub": "dynamodb.${AWS::Region}.${AWS::URLSuffix}"}


def test_a_role_that_trusts_nobody_is_not_made(config: Config) -> None:
    mine = replace(config, project=replace(config.project, repository="o/acso"))

    def given(settings: Config, name: str, **changes: Any) -> tuple[str, str]:
        environment = replace(settings.environment(name), **changes)
        found = parameters.environment_parameters(target(Aws(region="r"), settings, environment))
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


def test_an_existing_identity_provider_is_not_created_again(config: Config) -> None:
    mine = replace(config, project=replace(config.project, repository="o/acso"))
    aws = Aws(region="r")
    assert (
        parameters.registry_parameters(target(aws, mine), {}, provider=True)["Repository"]
        == "o/acso"
    )
    assert parameters.registry_parameters(target(aws, mine), {}, provider=False)["Repository"] == ""
