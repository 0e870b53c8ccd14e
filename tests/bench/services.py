"""Measure the watch of many services: API calls, time and memory of one process.

    ./acso bench services [COUNT]        # default: 100 services

This uses boto3's real clients, signing, threads and parsing, but no network: each request is
answered in this process, in the format of the API reference. So the figures are those of our side
only. At first all tasks are starting, later half of them are healthy, at the end all. Nothing is
asserted: tests/unit/release/rollout/test_watch.py asserts the number of calls.
"""

import json
import resource
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from botocore.awsrequest import AWSRequest, AWSResponse

from ci import release
from ci.aws import elb
from ci.aws.session import Aws, Credentials
from ci.release.rollout.verdict import Expectation, Limits
from ci.release.rollout.watch import ProgressReporter, watch
from tests.unit.release.rollout.test_watch import many

ARN = "arn:aws:ecs:us-east-1:123456789012"
CREATED = 1_764_000_000
LOOKS = 10  # polls until everything is healthy


@dataclass(kw_only=True)
class Answers:
    """The answers of AWS, which depend on the number of polls so far."""

    names: list[str]
    looks: int = 0
    calls: Counter[str] = field(default_factory=Counter)

    def __call__(self, request: AWSRequest, **_: Any) -> AWSResponse:
        """Answer a request in place of the network."""
        target = request.headers.get("X-Amz-Target", b"")
        name = target.decode() if isinstance(target, bytes) else str(target)
        operation = name.rpartition(".")[2] or "DescribeTargetHealth"
        self.calls[operation] += 1
        if operation == "DescribeTargetHealth":
            return _response(request, self.targets(request).encode(), "text/xml")
        asked = json.loads(request.body)
        answer = getattr(self, operation.lower())(asked)
        return _response(request, json.dumps(answer).encode(), "application/x-amz-json-1.1")

    def running(self, name: str) -> bool:
        """Return whether a service's task runs by now: half of them do from the third poll on."""
        return self.looks > (2 if self.names.index(name) % 2 else LOOKS - 1)

    def describeservices(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer with services whose deployment is in progress, later completed."""
        return {"services": [self.service(name) for name in asked["services"]], "failures": []}

    def service(self, name: str) -> dict[str, Any]:
        """Return one service with a hundred events, as ECS does."""
        done = self.running(name)
        deployment = {
            "id": f"ecs-svc/{name}",
            "status": "PRIMARY",
            "taskDefinition": f"{ARN}:task-definition/{name}:8",
            "desiredCount": 1,
            "runningCount": int(done),
            "createdAt": CREATED,
            "rolloutState": "COMPLETED" if done else "IN_PROGRESS",
        }
        return {
            "serviceName": name,
            "status": "ACTIVE",
            "taskDefinition": deployment["taskDefinition"],
            "desiredCount": 1,
            "runningCount": int(done),
            "deployments": [deployment],
            "events": [
                {"id": str(number), "createdAt": CREATED, "message": f"(service {name}) event"}
                for number in range(100)
            ],
        }

    def listtasks(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer with a task for each service; each poll begins with the running ones."""
        if asked["desiredStatus"] == "STOPPED":
            return {"taskArns": []}
        start = int(asked.get("nextToken", 0))
        self.looks += not start
        arns = [f"{ARN}:task/acso-staging-cluster/{name}" for name in self.names]
        more = {"nextToken": str(start + 100)} if start + 100 < len(arns) else {}
        return {"taskArns": arns[start : start + 100], **more}

    def describetasks(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer with tasks that are starting, later running."""
        return {"tasks": [self.task(name) for name in asked["tasks"]], "failures": []}

    def task(self, name: str) -> dict[str, Any]:
        """Return a service's task."""
        detail = {"name": "privateIPv4Address", "value": address(self.names, name)}
        return {
            "taskArn": f"{ARN}:task/acso-staging-cluster/{name}",
            "group": f"service:{name}",
            "taskDefinitionArn": f"{ARN}:task-definition/{name}:8",
            "lastStatus": "RUNNING" if self.running(name) else "PENDING",
            "startedBy": f"ecs-svc/{name}",
            "createdAt": CREATED,
            "containers": [{"name": "main", "healthStatus": "HEALTHY"}],
            "attachments": [{"details": [detail]}],
        }

    def targets(self, request: AWSRequest) -> str:
        """Return the health of a service's one target, as XML."""
        name = str(request.body).partition("targetgroup%2F")[2].partition("%2F")[0]
        return (
            '<DescribeTargetHealthResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/'
            '2015-12-01/"><DescribeTargetHealthResult><TargetHealthDescriptions><member><Target>'
            f"<Id>{address(self.names, name)}</Id></Target><TargetHealth><State>healthy</State>"
            "</TargetHealth></member></TargetHealthDescriptions></DescribeTargetHealthResult>"
            "</DescribeTargetHealthResponse>"
        )


def address(names: list[str], name: str) -> str:
    """Return the address of a service's task."""
    return f"10.0.{names.index(name) // 250}.{names.index(name) % 250}"


def _response(request: AWSRequest, content: bytes, kind: str) -> AWSResponse:
    answer = AWSResponse(request.url, 200, {"Content-Type": kind}, None)
    answer._content = content  # as if read from the network
    return answer


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """The outputs of an environment's infrastructure, as far as the watch needs them."""

    cluster: str
    target_groups: dict[str, str]
    url: str = "http://balancer"
    subnets: tuple[str, ...] = ()
    security_group: str = ""
    scaled: tuple[str, ...] = ()
    execution_role: str = ""
    task_roles: dict[str, str] = field(default_factory=dict)
    log_group: str = ""
    releases_table: str = ""
    state_table: str = ""
    people_secret: str = ""
    agents_secret: str = ""
    topic: str = ""


@contextmanager
def healthy() -> Iterator[None]:
    """Replace health checks: every agent answers with the deployed version."""
    original = elb.get

    async def get(url: str, *, seconds: float = 5.0) -> elb.Answer:  # noqa: ARG001
        body = {"agent": url.split("/")[3], "version": "v8", "digest": "sha256:8"}
        return elb.Answer(status=200, body=body)

    elb.get = get
    try:
        yield
    finally:
        elb.get = original


def arranged(count: int) -> tuple[release.ReleaseContext, list[Expectation], Answers]:
    """Return a context with this many services, their expectations, and the answers of AWS."""
    config = many(count)
    env = config.environment("staging")
    names = [env.service(agent) for agent in config.agents]
    answers = Answers(names=names)
    aws = Aws(
        region="us-east-1",
        credentials=Credentials(access_key_id="AKIATEST", secret_access_key="none"),
    )
    for service in ("ecs", "elbv2"):
        aws.client(service).meta.events.register(f"before-send.{service}.*", answers)
        aws.client(service).meta.events.register("before-send.elastic-load-balancing-v2.*", answers)
    group = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup"
    outputs = Outputs(
        cluster=env.cluster,
        target_groups={a.name: f"{group}/{env.service(a)}/0" for a in config.agents},
    )
    context = release.ReleaseContext(aws=aws, config=config, env=env, outputs=outputs)
    expectations = [
        Expectation(
            agent=agent.name,
            service=env.service(agent),
            run=release.ServiceRevision(
                revision=f"{ARN}:task-definition/{env.service(agent)}:8",
                version="v8",
                digest="sha256:8",
                desired=1,
            ),
            deployment=f"ecs-svc/{env.service(agent)}",
        )
        for agent in config.agents
    ]
    return context, expectations, answers


async def watched(count: int) -> Answers:
    """Watch this many services until all are healthy."""
    context, expectations, answers = arranged(count)
    limits = Limits(failures=1, grace=30, timeout=600)
    with healthy():
        found = await watch(context, expectations, limits, ProgressReporter(lambda _: None))
    assert found.healthy
    return answers


def main(count: int) -> None:
    """Watch twice, first to measure time and then memory; print the figures."""
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    answers = anyio.run(watched, count)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    tracemalloc.start()
    anyio.run(watched, count)
    _, peak = tracemalloc.get_traced_memory()
    looks = answers.looks
    print(f"{count} services, {looks} polls until all are healthy")
    for operation, calls in sorted(answers.calls.items()):
        print(f"  {operation:<22} {calls / looks:6.1f} calls a poll")
    print(f"  wall time              {wall:6.2f} s in total, including boto3's import and pauses")
    print(f"  processor time         {cpu / looks:6.2f} s a poll")
    print(f"  memory of the watch    {peak / 1e6:6.1f} MB at most")
    print(f"  memory of the process  {after.ru_maxrss / 1024:6.0f} MiB at most")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
