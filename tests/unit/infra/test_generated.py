"""What the template has for TLS, names, access and scaling; and its limits."""

import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest
from botocore.stub import ANY, Stubber

from ci.aws import cloudformation
from ci.aws.session import Aws, Credentials
from ci.config import Agent, Config, Scaling
from ci.errors import ConfigError
from ci.infra import environment, templates
from ci.infra.generated import Facts, facts_of, with_facts
from tests.unit.infra.combinations import COMBINATIONS, combination
from tests.unit.infra.parsing import parsed, target

AWS = Aws(region="us-east-1")


def resources(name: str, config: Config) -> dict[str, Any]:
    found: dict[str, Any] = parsed(environment.desired(combination(name, config, AWS)).template)
    return dict(found["Resources"])


def test_the_compact_template_means_the_same_as_its_file() -> None:
    text = files("ci.infra").joinpath("environment.yaml").read_text(encoding="utf-8")
    meant = parsed(text)
    for parameter in meant["Parameters"].values():
        del parameter["Description"]  # for readers of the file
    assert parsed(templates.compact(text)) == meant
    assert len(templates.compact(text)) < len(text) * 0.9


def test_facts_are_read_back_and_replaced(config: Config) -> None:
    facts = Facts(listeners=("https",), cidrs=("192.0.2.0/24",), subscriptions=("a@b.ch",))
    made = templates.environment(config.agents, facts)
    assert facts_of(made) == facts
    assert with_facts(made, facts) == made
    other = with_facts(made, Facts())
    assert facts_of(other) == facts_of(templates.environment(config.agents))
    assert other == templates.environment(config.agents)
    assert facts_of("Resources: {}") == Facts()  # of an earlier version


def test_https_has_the_rules_and_a_current_policy_and_http_only_redirects(config: Config) -> None:
    found = resources("a certificate of the stack", config)
    listener = found["SecureListener"]["Properties"]
    assert (listener["Port"], listener["Protocol"]) == (443, "HTTPS")
    assert listener["SslPolicy"].startswith("ELBSecurityPolicy-TLS13-1-2")
    assert "Fn::ForEach::Rules" not in found
    rule = found["Fn::ForEach::SecureRules"][2]["SecureRule${Agent}"]
    assert rule["Properties"]["ListenerArn"] == {"Ref": "SecureListener"}
    condition, redirect, _ = found["Listener"]["Properties"]["DefaultActions"][0]["Fn::If"]
    assert condition == "Redirects"
    config_ = redirect["RedirectConfig"]
    assert (config_["Protocol"], config_["Port"], config_["StatusCode"]) == (
        "HTTPS",
        "443",
        "HTTP_301",
    )
    parameters = environment.desired(
        combination("a certificate of the stack", config, AWS)
    ).parameters
    assert (parameters["Tls"], parameters["Redirect"]) == ("true", "true")


def test_only_the_allowed_ranges_reach_the_load_balancer(config: Config) -> None:
    ingress = resources("a certificate from elsewhere", config)["LoadBalancerSecurity"][
        "Properties"
    ]["SecurityGroupIngress"]
    assert {(item["FromPort"], item["CidrIp"]) for item in ingress} == {
        (port, cidr) for port in (80, 443) for cidr in ("192.0.2.0/24", "198.51.100.0/24")
    }


def test_agents_reach_the_load_balancer(config: Config) -> None:
    found = resources("a certificate of the stack", config)
    call = found["TasksCallLoadBalancer"]["Properties"]
    assert call["SourceSecurityGroupId"] == {"Fn::GetAtt": "TaskSecurity.GroupId"}
    assert call["FromPort"] == {"Fn::If": ["Encrypted", 443, 80]}
    nat = found["NatCallsLoadBalancer"]
    assert (nat["Condition"], nat["Properties"]["CidrIp"]) == (
        "CalledThroughNat",
        {"Fn::Sub": "${NatAddress.PublicIp}/32"},
    )


@pytest.mark.parametrize(
    ("name", "count"), [("one agent", 4), ("an existing network, internal, scaled", 5)]
)
def test_every_role_has_the_boundary(config: Config, name: str, count: int) -> None:
    found = resources(name, config)
    roles = [item for item in found.values() if isinstance(item, dict)]
    roles += [
        body for item in found.values() if isinstance(item, list) for body in item[2].values()
    ]
    bounded = [item for item in roles if item["Type"] == "AWS::IAM::Role"]
    assert len(bounded) == count
    for role in bounded:
        assert role["Properties"]["PermissionsBoundary"]["Fn::If"][:2] == [
            "Bounded",
            {"Ref": "Boundary"},
        ]


def test_subscriptions_are_made_by_the_kind_of_their_endpoint(config: Config) -> None:
    found = resources("endpoints without NAT", config)
    made = {
        (item["Properties"]["Protocol"], item["Properties"]["Endpoint"])
        for name, item in found.items()
        if name.startswith("Subscription")
    }
    assert made == {("email", "team@example.com"), ("https", "https://example.com/hook")}
    tags = environment.desired(combination("endpoints without NAT", config, AWS)).tags
    assert tags["cost-center"] == "4711"


def test_scaling_has_a_target_and_a_policy_for_each_aim(config: Config) -> None:
    found = resources("an existing network, internal, scaled", config)
    keys = ["agent0", "agent1"]
    for name in ("ScalingLoop", "ScalingCpuLoop", "ScalingRequestsLoop"):
        assert found[f"Fn::ForEach::{name}"][1] == keys
    values = parsed(
        environment.desired(
            combination("an existing network, internal, scaled", config, AWS)
        ).template
    )["Mappings"]["Agents"]["agent0"]
    assert {k: values[k] for k in ("Min", "Max", "Cpu", "Requests")} == {
        "Min": "1",
        "Max": "4",
        "Cpu": "60",
        "Requests": "100",
    }


def test_forty_agents_with_everything_are_within_cloudformation_s_limits(config: Config) -> None:
    stack = environment.desired(combination("forty agents with everything", config, AWS))
    assert len(stack.template.encode()) < templates.MOST_BYTES
    assert 400 < templates.resources(stack.template) <= templates.MOST_RESOURCES
    assert max(len(value) for value in stack.parameters.values()) <= 4096
    assert len(stack.parameters) <= 200
    # Source: CloudFormation User Guide, "Understand CloudFormation quotas".
    assert len(parsed(stack.template)["Mappings"]["Agents"]) <= 200


def test_resources_are_counted_as_cloudformation_expands_them(config: Config) -> None:
    found = parsed(environment.desired(combination("one agent", config, AWS)).template)["Resources"]
    count = 0
    for item in found.values():
        keys = [""] if isinstance(item, dict) else item[1]
        count += (
            len(keys) * (len(item[2]) if isinstance(item, list) else 1)
            if isinstance(keys, list)
            else len(item[2])
        )
    stack = environment.desired(combination("one agent", config, AWS))
    assert templates.resources(stack.template) == count


def test_more_agents_than_fit_are_refused_with_what_to_do(config: Config) -> None:
    agents: tuple[Agent, ...] = tuple(
        replace(config.agents[0], name=f"agent-{n}", calls=()) for n in range(90)
    )
    env = replace(config.environment("staging"), scaling=Scaling(min=1, max=2, cpu=5, requests=5))
    with pytest.raises(ConfigError, match="of 90 agents is too large for one stack") as raised:
        environment.desired(target(AWS, replace(config, agents=agents), env))
    assert "of their own" in raised.value.hint


def test_every_combination_has_other_facts(config: Config) -> None:
    stacks = [environment.desired(combination(name, config, AWS)) for name in COMBINATIONS]
    assert len({json.dumps([s.template, dict(s.parameters)]) for s in stacks}) == len(stacks)


def test_what_production_keeps_has_literal_names_and_can_be_imported(config: Config) -> None:
    # Source: CloudFormation User Guide, "Import AWS resources into a CloudFormation stack
    # automatically": a static name, and a DeletionPolicy that retains.
    found = resources("one agent", config)
    names = {
        found["AgentState"]["Properties"]["TableName"],
        found["Releases"]["Properties"]["TableName"],
        found["Logs"]["Properties"]["LogGroupName"],
    }
    assert names == {
        "acso-production-agent-state",
        "acso-production-releases",
        "/aws/acso/production/agents",
    }
    for name in ("AgentState", "Releases", "Logs"):
        assert found[name]["DeletionPolicy"]["Fn::If"][1] == "RetainExceptOnCreate"


@pytest.mark.parametrize(
    ("asked", "new", "sent"), [(True, True, True), (True, False, None), (False, True, None)]
)
async def test_only_a_new_stack_imports_and_only_if_asked(
    config: Config, *, asked: bool, new: bool, sent: bool | None
) -> None:
    env = replace(config.environment("staging"), import_existing=asked)
    keys = Credentials(access_key_id="AKIATEST", secret_access_key="none")
    aws = Aws(region="us-east-1", credentials=keys)
    stack = environment.desired(target(aws, config, env))
    expected = {
        "StackName": ANY,
        "ChangeSetName": "x",
        "ChangeSetType": "CREATE" if new else "UPDATE",
        "TemplateBody": ANY,
        "Parameters": ANY,
        "Capabilities": ANY,
        "Tags": ANY,
        **({"ImportExistingResources": True} if sent else {}),
    }
    with Stubber(aws.client("cloudformation")) as stub:
        stub.add_response("create_change_set", {"Id": "arn:aws:cloudformation:x"}, expected)
        assert await cloudformation.create_change_set(aws, stack, "x", new=new)
