"""Elastic Load Balancing: target groups, targets and their health; and HTTP requests."""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio.to_thread

from ci.aws.session import Aws
from ci.config import Environment
from ci.errors import AwsError

MAX_BYTES = 64 * 1024  # of a response


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
    """The response of a URL: an HTTP status and a JSON object, or status 0 and the error."""

    status: int
    body: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

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


@dataclass(frozen=True, kw_only=True)
class Request:
    """An HTTP request with a JSON document as its body, or with text, or without one."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # may have a token
    body: Any = None
    seconds: float = 5.0


async def get(url: str, *, seconds: float = 5.0) -> Answer:
    """Request JSON from a URL; an error is in the returned answer, nothing is raised."""
    return await send(Request(method="GET", url=url, seconds=seconds))


async def send(request: Request) -> Answer:
    """Send a request; an error is in the returned answer, nothing is raised."""
    return await anyio.to_thread.run_sync(_send, request, abandon_on_cancel=True)


def _send(wanted: Request) -> Answer:
    headers = {"Accept": "application/json", **wanted.headers}
    data = None
    if wanted.body is not None:
        headers.setdefault("Content-Type", "application/json")
        text = wanted.body if isinstance(wanted.body, str) else json.dumps(wanted.body)
        data = text.encode()
    url, seconds = wanted.url, wanted.seconds
    request = urllib.request.Request(url, data=data, headers=headers, method=wanted.method)  # noqa: S310
    try:
        with _opener(url).open(request, timeout=seconds) as answer:
            return _answer(answer.status, answer.read(MAX_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return _answer(error.code, error.read(MAX_BYTES))
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        return Answer(status=0, error=f"no answer: {reason or type(error).__name__}")


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Return an opener for this URL, without proxies if it is on this machine."""
    if urllib.parse.urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1"):
        return urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener()


def _answer(status: int, content: bytes) -> Answer:
    try:
        body = json.loads(content)
    except ValueError:
        body = {"text": content.decode(errors="replace")[:200]}
    return Answer(status=status, body=body if isinstance(body, dict) else {"json": body})
