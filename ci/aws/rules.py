"""Elastic Load Balancing: rules that answer for an agent, for as long as a fault lasts."""

from dataclasses import dataclass

from ci.aws.session import Aws
from ci.config import Environment
from ci.errors import AwsError

FIRST = 1  # the highest priority; agents' rules begin far above it
STATUS = "503"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule with a response of its own: its ARN, and the response's text."""

    arn: str
    text: str


async def listeners(aws: Aws, env: Environment) -> list[str]:
    """Return the ARNs of the environment's listeners that send requests to agents."""
    name = f"{env.prefix}-alb"
    answer = await aws.call("elbv2", "describe_load_balancers", Names=[name])
    arn = answer["LoadBalancers"][0]["LoadBalancerArn"]
    found = await aws.pages("elbv2", "describe_listeners", "Listeners", LoadBalancerArn=arn)
    secure = [item for item in found if item["Protocol"] == "HTTPS"]
    return [item["ListenerArn"] for item in secure or found]


async def answering(aws: Aws, listener: str) -> list[Rule]:
    """Return a listener's rules that answer themselves."""
    found = await aws.pages("elbv2", "describe_rules", "Rules", ListenerArn=listener)
    return [
        Rule(arn=item["RuleArn"], text=action["FixedResponseConfig"].get("MessageBody", ""))
        for item in found
        if not item.get("IsDefault")
        for action in item["Actions"]
        if action["Type"] == "fixed-response"
    ]


async def answer(aws: Aws, listener: str, path: str, text: str) -> None:
    """Answer a path with HTTP 503 and a text, before any other rule."""
    response = {"StatusCode": STATUS, "ContentType": "text/plain", "MessageBody": text}
    await aws.call(
        "elbv2",
        "create_rule",
        ListenerArn=listener,
        Priority=FIRST,
        Conditions=[{"Field": "path-pattern", "PathPatternConfig": {"Values": [path]}}],
        Actions=[{"Type": "fixed-response", "FixedResponseConfig": response}],
    )


async def remove(aws: Aws, rule: Rule) -> None:
    """Remove a rule; no error if it does not exist."""
    try:
        await aws.call("elbv2", "delete_rule", RuleArn=rule.arn)
    except AwsError as error:
        if error.code not in ("RuleNotFound", "RuleNotFoundException"):
            raise
