"""Elastic Load Balancing: target groups, targets and their health; and HTTP requests."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio.to_thread

from ci.aws.prober import Request, Response, fetch
from ci.aws.session import Aws
from ci.config import Environment
from ci.errors import AwsError

#: What the load balancer answers where no agent is (`Listener` in ci/infra/environment.yaml).
NO_AGENT = "no agent has this path"


@dataclass(frozen=True, kw_only=True)
class Target:
    """One registered target: its address and its health state.

    `code` is the load balancer's reason code, such as Target.Timeout; `reason` describes it.
    """

    address: str
    state: str
    reason: str = ""
    code: str = ""

    def __str__(self) -> str:
        """Return the state with its code and reason."""
        why = ": ".join(part for part in (self.code, self.reason) if part)
        return f"{self.state} ({why})" if why else self.state


@dataclass(frozen=True, kw_only=True)
class TargetGroup:
    """One target group: how it reaches its targets, and its health check."""

    arn: str
    vpc: str
    kind: str  # target type: ip, instance, lambda or alb
    protocol: str
    port: int
    health_path: str
    health_port: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The response of a URL: an HTTP status and a JSON object, or status 0 and the error.

    If it was not `examined`, the request could not be sent, which says nothing about the URL.
    Names of headers are in lower case; `seconds` is the time until the response, where it was sent.
    """

    status: int
    body: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    examined: bool = True
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)
    seconds: float = field(default=0.0, compare=False)

    def __str__(self) -> str:
        if self.error:
            return self.error
        return f"HTTP {self.status} {json.dumps(dict(self.body), sort_keys=True)[:300]}"


async def url(aws: Aws, env: Environment) -> str:
    """Return the base URL of an environment; raises `AwsError` if it has no load balancer."""
    name = f"{env.prefix}-alb"
    if aws.load_balancer:
        return aws.load_balancer.format(name=name)
    if env.domain:
        return f"{'https' if env.encrypted else 'http'}://{env.domain}"
    answer = await aws.call("elbv2", "describe_load_balancers", Names=[name])
    return f"http://{answer['LoadBalancers'][0]['DNSName']}"


async def targets(aws: Aws, group: str) -> list[Target]:
    """Return a target group's registered targets, by the group's ARN."""
    answer = await aws.call("elbv2", "describe_target_health", TargetGroupArn=group)
    return [
        Target(
            address=item["Target"]["Id"],
            state=item["TargetHealth"]["State"],
            reason=item["TargetHealth"].get("Description") or "",
            code=item["TargetHealth"].get("Reason") or "",
        )
        for item in answer["TargetHealthDescriptions"]
    ]


async def target_group(aws: Aws, arn: str) -> TargetGroup | None:
    """Return a target group by its ARN, None if it does not exist."""
    try:
        answer = await aws.call("elbv2", "describe_target_groups", TargetGroupArns=[arn])
    except AwsError as error:
        if error.code in ("TargetGroupNotFound", "TargetGroupNotFoundException"):
            return None
        raise
    found = answer["TargetGroups"][0]
    return TargetGroup(
        arn=arn,
        vpc=found.get("VpcId", ""),
        kind=found["TargetType"],
        protocol=found.get("Protocol", ""),
        port=found.get("Port", 0),
        health_path=found.get("HealthCheckPath", ""),
        health_port=found.get("HealthCheckPort", ""),
    )


async def get(url: str, *, seconds: float = 5.0) -> Answer:
    """Request JSON from a URL; an error is in the returned answer, nothing is raised."""
    headers = {"Accept": "application/json"}
    return await send(Request(url=url, headers=headers, seconds=seconds, follow=True))


async def send(request: Request) -> Answer:
    """Send a request from this machine; an error is in the returned answer, nothing is raised."""
    return answer_of(await anyio.to_thread.run_sync(fetch, request, abandon_on_cancel=True))


def answer_of(response: Response) -> Answer:
    """Return a response with its body as JSON; text is below `text`, a list below `json`."""
    if response.error:
        return Answer(status=0, error=response.error, seconds=response.seconds)
    try:
        body = json.loads(response.content)
    except ValueError:
        body = {"text": response.content.decode(errors="replace")[:200]}
    return Answer(
        status=response.status,
        body=body if isinstance(body, dict) else {"json": body},
        headers=response.headers,
        seconds=response.seconds,
    )


def not_examined(why: str) -> Answer:
    """Return the answer of a URL to which no request could be sent."""
    return Answer(status=0, error=f"not examined: {why}", examined=False)
