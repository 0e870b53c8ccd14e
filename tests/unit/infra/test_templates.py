"""The templates: clean, following acso.toml, and complete."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ci.aws.session import Aws
from ci.config import Config
from ci.errors import ConfigError
from ci.infra import environment, parameters, templates
from ci.release.records import images
from tests.unit.infra.combinations import COMBINATIONS, combination
from tests.unit.infra.parsing import nodes, parsed, target

#: Combinations that are linted by default: the others take longer. Conditions are in all of them.
LINTED = ("a certificate from elsewhere",)
#: Names whose checksums, and so rule priorities, are equal.
COLLIDING = ("agent-107", "agent-255")


def lint(*files: Path) -> tuple[int, str]:
    """Return cfn-lint's exit code and output."""
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), *files],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.matrix] * (n not in LINTED)) for n in COMBINATIONS],
)
def test_cfn_lint_finds_nothing(name: str, config: Config, tmp_path: Path) -> None:
    stack = environment.desired(combination(name, config, Aws(region="us-east-1")))
    # cfn-lint does not know the values of parameters that a loop goes over.
    agents = json.dumps(stack.parameters["Agents"].split(","))
    loops = stack.template.replace("- !Ref Agents", f"- {agents}")
    file = tmp_path / "environment.yaml"
    file.write_text(loops.replace('{"Ref": "Agents"}', agents))
    assert lint(file) == (0, "")


def test_cfn_lint_finds_nothing_in_the_registry(config: Config, tmp_path: Path) -> None:
    file = tmp_path / "registry.yaml"
    file.write_text(templates.registry(templates.registry_mapping(config.agents)))
    assert lint(file) == (0, "")


def test_a_sixth_agent_needs_an_entry_and_nothing_else(config: Config) -> None:
    sixth = replace(config.agents[0], name="code-review", port=9000, health_path="/alive")
    text = templates.environment((*config.agents, sixth))
    found = parsed(text)["Mappings"]["Agents"]["codereview"]
    assert (found["Name"], found["Port"], found["HealthPath"]) == ("code-review", "9000", "/alive")


def test_adding_an_agent_changes_no_other_agent_s_rule(config: Config) -> None:
    before = templates.mapping(config.agents)
    after = templates.mapping((replace(config.agents[0], name="aaa"), *config.agents))
    assert {key: after[key] for key in before} == before
    priorities = [int(item["Priority"]) for item in after.values()]
    assert len(set(priorities)) == len(priorities)
    assert all(1 <= priority <= 50_000 for priority in priorities)


def test_no_fixed_name_is_in_both_stacks(config: Config) -> None:
    # AWS refuses the second stack that names a resource which exists; the embedded AWS does not.
    def names(text: str) -> set[str]:
        return {
            json.dumps(value)
            for item in nodes(parsed(text)["Resources"])
            if isinstance(item, dict)
            for key, value in item.items()
            if key == "Url" or (key.endswith("Name") and key not in ("Name", "AttributeName"))
        }

    registry = names(templates.registry(templates.registry_mapping(config.agents)))
    assert registry
    assert not registry & names(templates.environment(config.agents))


def test_all_stored_data_is_encrypted_with_the_environment_s_key(config: Config) -> None:
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


def test_every_agent_has_alarms_with_actions(config: Config) -> None:
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
        "TargetResponseTime": ("AWS/ApplicationELB", 3),
        "CPUUtilization": ("AWS/ECS", 80),
        "MemoryUtilization": ("AWS/ECS", 80),
    }
    insights = [{"Name": "containerInsights", "Value": "enabled"}]
    assert template["Cluster"]["Properties"]["ClusterSettings"] == insights


def test_repositories_are_immutable_scanned_and_kept(config: Config) -> None:
    loop = parsed(templates.registry(templates.registry_mapping(config.agents)))["Resources"][
        "Fn::ForEach::Repositories"
    ]
    repository = loop[2]["Repository${Agent}"]
    assert repository["DeletionPolicy"] == "RetainExceptOnCreate"
    properties = repository["Properties"]
    assert properties["ImageTagMutability"] == "IMMUTABLE"
    assert properties["ImageScanningConfiguration"] == {"ScanOnPush": True}
    rules = json.loads(properties["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    assert {rule["action"]["type"] for rule in rules} == {"expire"}
    # The first rule that selects an image decides: those with this tag are kept.
    first = min(rules, key=lambda rule: int(rule["rulePriority"]))
    assert first["selection"]["tagPatternList"] == [f"{images.TAG}-*"]
    assert first["selection"]["countNumber"] > 5000


def test_tasks_can_be_reached_only_from_the_load_balancer(config: Config) -> None:
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
    found = parameters.environment_parameters(
        target(Aws(region="r"), more, config.environment("staging"))
    )
    assert (found["FirstPort"], found["LastPort"]) == ("8000", "9000")


def test_every_parameter_is_given(config: Config) -> None:
    # An omitted one would mean its default, and a stack could not be compared with what is wanted.
    aws = Aws(region="r")
    declared = set(parsed(templates.environment(config.agents))["Parameters"])
    assert declared == set(
        parameters.environment_parameters(target(aws, config, config.environment("staging")))
    )
    declared = set(
        parsed(templates.registry(templates.registry_mapping(config.agents)))["Parameters"]
    )
    assert declared == set(parameters.registry_parameters(target(aws, config), {}, provider=True))


def test_only_the_embedded_aws_omits_resources(config: Config) -> None:
    environment = config.environment("development")
    there = parameters.environment_parameters(
        target(Aws(region="r", endpoint="http://x"), config, environment)
    )
    aws = parameters.environment_parameters(target(Aws(region="r"), config, environment))
    assert (there["Embedded"], aws["Embedded"]) == ("true", "false")
    both = (
        templates.environment(config.agents),
        templates.registry(templates.registry_mapping(config.agents)),
    )
    resources = {k: v for text in both for k, v in parsed(text)["Resources"].items()}
    lacking = ("AWS::EC2::NatGateway", "AWS::EC2::EIP", "AWS::IAM::OIDCProvider")
    for item in resources.values():
        if isinstance(item, dict) and item["Type"] in lacking:
            assert item["Condition"] in ("HasNat", "NatPerZone", "FromGitHub")
    conditions = parsed(both[0])["Conditions"]
    assert {"Condition": "OnAws"} in conditions["HasNat"]["Fn::And"]
    assert {"Condition": "HasNat"} in conditions["NatPerZone"]["Fn::And"]


def test_data_is_retained_only_in_production(config: Config) -> None:
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
