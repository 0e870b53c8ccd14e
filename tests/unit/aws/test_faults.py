"""What experiments change, by the API reference: rules of listeners and policies of roles."""

from pathlib import Path

import pytest
from botocore.stub import Stubber

from ci.aws import iam, rules
from ci.aws.session import Aws, Credentials
from ci.config import load
from ci.errors import AwsError

STAGING = load(Path(__file__).parents[2] / "acso.toml").environment("staging")
ARN = "arn:aws:elasticloadbalancing:us-east-1:123456789012:listener"
BALANCER = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/a/1"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def aws() -> Aws:
    keys = Credentials(access_key_id="AKIATEST", secret_access_key="none")
    return Aws(region="us-east-1", credentials=keys)


@pytest.mark.parametrize(
    ("listeners", "chosen"),
    [
        ({"a": "HTTP"}, ["a"]),
        ({"a": "HTTP", "b": "HTTPS"}, ["b"]),  # the other one only redirects
    ],
)
async def test_a_rule_is_added_where_agents_are_reached(
    aws: Aws, listeners: dict[str, str], chosen: list[str]
) -> None:
    with Stubber(aws.client("elbv2")) as stub:
        stub.add_response(
            "describe_load_balancers",
            {"LoadBalancers": [{"LoadBalancerArn": BALANCER}]},
            {"Names": ["acso-staging-alb"]},
        )
        found = [{"ListenerArn": ARN + name, "Protocol": kind} for name, kind in listeners.items()]
        stub.add_response("describe_listeners", {"Listeners": found}, {"LoadBalancerArn": BALANCER})
        assert await rules.listeners(aws, STAGING) == [ARN + name for name in chosen]


async def test_only_rules_that_answer_themselves_are_known_by_their_text(aws: Aws) -> None:
    response = {"StatusCode": "503", "ContentType": "text/plain", "MessageBody": "acso-chaos: x"}
    fixed = {"Type": "fixed-response", "FixedResponseConfig": response}
    forward = {"Type": "forward", "TargetGroupArn": "t"}
    with Stubber(aws.client("elbv2")) as stub:
        stub.add_response(
            "create_rule",
            {"Rules": []},
            {
                "ListenerArn": ARN,
                "Priority": 1,
                "Conditions": [
                    {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/a/*"]}}
                ],
                "Actions": [fixed],
            },
        )
        stub.add_response(
            "describe_rules",
            {
                "Rules": [
                    {"RuleArn": "r1", "IsDefault": False, "Actions": [fixed]},
                    {"RuleArn": "r2", "IsDefault": False, "Actions": [forward]},
                    {"RuleArn": "r3", "IsDefault": True, "Actions": [fixed]},
                ]
            },
            {"ListenerArn": ARN},
        )
        await rules.answer(aws, ARN, "/a/*", "acso-chaos: x")
        found = await rules.answering(aws, ARN)
        assert found == [rules.Rule(arn="r1", text="acso-chaos: x")]


async def test_what_is_gone_is_removed_and_what_is_forbidden_is_said(aws: Aws) -> None:
    rule = rules.Rule(arn="r1", text="")
    with Stubber(aws.client("elbv2")) as stub:
        stub.add_response("delete_rule", {}, {"RuleArn": "r1"})
        stub.add_client_error("delete_rule", "RuleNotFound")
        stub.add_client_error("delete_rule", "AccessDenied")
        await rules.remove(aws, rule)
        await rules.remove(aws, rule)
        with pytest.raises(AwsError, match="AccessDenied"):
            await rules.remove(aws, rule)


async def test_a_policy_of_a_role_is_added_found_and_removed(aws: Aws) -> None:
    named = {"RoleName": "role", "PolicyName": "acso-chaos"}
    with Stubber(aws.client("iam")) as stub:
        stub.add_response("put_role_policy", {}, {**named, "PolicyDocument": "{}"})
        stub.add_response("get_role_policy", {**named, "PolicyDocument": "{}"}, named)
        stub.add_response("delete_role_policy", {}, named)
        for operation in ("get_role_policy", "delete_role_policy"):
            stub.add_client_error(operation, "NoSuchEntity")
        for operation in ("get_role_policy", "delete_role_policy"):
            stub.add_client_error(operation, "AccessDenied")
        await iam.put_policy(aws, "role", "acso-chaos", "{}")
        assert await iam.has_policy(aws, "role", "acso-chaos")
        await iam.delete_policy(aws, "role", "acso-chaos")
        assert not await iam.has_policy(aws, "role", "acso-chaos")
        await iam.delete_policy(aws, "role", "acso-chaos")
        for use in (iam.has_policy, iam.delete_policy):
            with pytest.raises(AwsError, match="AccessDenied"):
                await use(aws, "role", "acso-chaos")
