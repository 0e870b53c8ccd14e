"""Smoke checks: the cluster is active, and the agents that were released run, log and answer."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio

from ci.aws import ecs, elb, logs
from ci.aws.probing import DIRECT, Probe
from ci.common.concurrency import parallel
from ci.config import Agent
from ci.errors import ProbeError
from validation import environment
from validation.client import agents_of
from validation.model import Check, CheckContext, Evidence, Finding, Severity, failed, judged

LOG_SECONDS = 10.0  # at most, to wait for log lines to arrive
ANSWER_SECONDS = 20.0  # at most, to ask agents again that do not answer as they should
PAUSE = 0.5


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What an agent should answer, read from the task definition that its service runs."""

    agent: str
    environment: str
    version: str
    digest: str


async def cluster_active(context: CheckContext) -> Finding:
    """Check that the ECS cluster exists and is ACTIVE."""
    status = await environment.cluster_status(context)
    return judged(
        [f"{context.env.cluster} is {status}"] * (status != "ACTIVE"),
        Evidence("clusters", 1, 1),
        observed=f"{context.env.cluster} is {status}",
        expected="ACTIVE",
    )


async def services_running(context: CheckContext) -> Finding:
    """Check that the agents' services run, with all their tasks and one deployment each.

    Other services of the cluster are a warning: a release that removes an agent removes its
    service after it has succeeded.
    """
    found = await environment.running(context)
    agents = context.config.agents
    names = {agent.name: context.env.service(agent) for agent in agents}
    missing = [name for agent, name in names.items() if agent not in found.services]
    scaled = {agent.name for agent in agents if context.env.task(agent).scaling}
    problems = [f"{name} is missing" for name in sorted(missing)]
    problems += [
        text
        for agent, service in sorted(found.services.items())
        for text in problems_of(service, scaled=agent in scaled)
    ]
    tasks = sum(service.running for service in found.services.values())
    return judged(
        problems,
        Evidence("services", len(found.services), len(agents)),
        observed=f"{len(found.services)} services with {tasks} tasks",
        expected=f"{len(agents)} services, running = desired > 0, one deployment each",
        warnings=[f"service of no agent: {name}" for name in found.strays],
    )


def problems_of(service: ecs.Service, *, scaled: bool = False) -> list[str]:
    """Return what is wrong with one service; pure.

    A scaled one may be starting or stopping tasks: it must have one that runs.
    """
    problems = []
    if service.status != "ACTIVE":
        problems.append(f"{service.name} is {service.status}")
    if service.desired < 1:
        problems.append(f"{service.name} is scaled to 0")
    if service.running != service.desired and not (scaled and service.running):
        problems.append(f"{service.name} runs {service.running} of {service.desired} tasks")
    under_way = [item for item in service.deployments if item.status != "INACTIVE"]
    if len(under_way) != 1:
        problems.append(f"{service.name} has {len(under_way)} deployments")
    return problems


async def images_deployed(context: CheckContext) -> Finding:
    """Check that every running task runs its service's revision, with an image of the release.

    The image is a digest that the newest release record lists for the agent: what it moved to, or,
    while and after it is rolled back, what it came from.
    """
    found = await environment.running(context)
    history = await environment.releases(context)
    listed = recorded_digests(history[0].body) if history else None

    def known(agent: str) -> set[str] | None:
        return None if listed is None else listed.get(agent, set())

    problems = [
        text
        for agent, service in sorted(found.services.items())
        for text in [
            *_image_problems(service, found.definitions.get(agent), known(agent)),
            *_stray_tasks(service, found.tasks.get(agent, ())),
        ]
    ]
    tasks = sum(len(found.tasks.get(agent, ())) for agent in found.services)
    return judged(
        problems,
        Evidence("services", len(found.services), len(context.config.agents)),
        Evidence("running tasks", tasks, tasks),
        observed=f"{tasks} tasks run the released images",
        expected="the service's revision in every task, its image a digest of the release record",
    )


def recorded_digests(body: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return the digests that a release record lists for each agent; pure."""
    found: dict[str, set[str]] = {}
    for entry in body["entries"]:
        revisions = (entry.get("before"), entry.get("after"))
        found[entry["agent"]] = {item["digest"] for item in revisions if item}
    return found


def _image_problems(
    service: ecs.Service, definition: ecs.TaskDefinition | None, listed: set[str] | None
) -> list[str]:
    if definition is None:
        return [f"{service.name} runs {service.revision}, which does not exist"]
    digest = definition.image.partition("@")[2]
    if not digest.startswith("sha256:"):
        return [f"{service.name} runs {definition.image}, which is no digest"]
    if digest != definition.environment.get("ACSO_DIGEST"):
        return [f"{service.name} runs another image than the release registered"]
    if listed is not None and digest not in listed:
        return [f"{service.name} runs {digest}, which the release record does not list"]
    return []


def _stray_tasks(service: ecs.Service, tasks: Iterable[ecs.Task]) -> list[str]:
    return [
        f"task {task.id} of {service.name} runs {task.revision.rsplit('/', 1)[-1]}"
        for task in tasks
        if task.revision != service.revision
    ]


async def logs_written(context: CheckContext) -> Finding:
    """Check that the log group exists and every running task has written to it."""
    group = context.env.log_group
    expected = "a log stream with events for every running task"
    if not await logs.group_exists(context.aws, group):
        return failed(f"log group {group} does not exist", expected)
    tasks = (await environment.running(context)).tasks
    idle = [agent.name for agent in context.config.agents if not tasks.get(agent.name)]
    if idle:
        return failed(f"no running task of {', '.join(idle)}", expected)
    streams = [
        f"{agent.name}/{agent.container}/{task.id}"
        for agent in context.config.agents
        for task in tasks[agent.name]
    ]
    silent = await _silent(context, group, streams)
    return judged(
        [f"nothing written to {', '.join(silent)}"] * bool(silent),
        Evidence("log streams", len(streams), len(streams)),
        observed=f"{len(streams)} tasks write to {group}",
        expected=expected,
        hint="the execution role needs logs:CreateLogStream and logs:PutLogEvents",
    )


async def bedrock_reachable(context: CheckContext) -> Finding:
    """Check that the model answers every agent: asked by its task, with its task's role."""
    agents = await agents_of(context)

    async def one(agent: Agent) -> list[str]:
        answer = await agents.ask(agent.name, "GET", "/model")
        status = answer.body.get("status")
        if answer.status == 200 and status == "ok":
            return []
        return [f"{agent.name}: {answer.body.get('detail') or answer}"]

    model = context.env.model
    expected = "the model answers from a task, with the task's role"
    return await _all(context, one, f"answered by {model}", expected)


async def agents_healthy(context: CheckContext) -> Finding:
    """Check that every agent's health answers through the load balancer, as it was deployed."""
    definitions = (await environment.running(context)).definitions

    async def one(agent: Agent) -> list[str]:
        return await _health(context, agent, definitions.get(agent.name))

    return await _all(context, one, "healthy", "HTTP 200 with the deployed version and digest")


async def agents_ready(context: CheckContext) -> Finding:
    """Check that every agent answers through the load balancer that it can work."""
    return await _all(context, partial(_ready, context), "ready", "HTTP 200")


async def _answers(context: CheckContext, agent: Agent) -> list[str]:
    """Return what is wrong with the answers of one agent, without the shared reads of a suite."""
    name = context.env.service(agent)
    service = (await ecs.services(context.aws, context.env.cluster, [name])).get(name)
    found = await ecs.task_definition(context.aws, service.revision) if service else None
    return [*await _health(context, agent, found), *await _ready(context, agent)]


async def _health(
    context: CheckContext, agent: Agent, definition: ecs.TaskDefinition | None
) -> list[str]:
    if definition is None:
        return [f"{agent.name} has no service with a task definition"]
    expected = Expected(
        agent=agent.name,
        environment=context.env.name,
        version=definition.environment.get("ACSO_VERSION", ""),
        digest=definition.image.partition("@")[2],
    )
    url = f"{context.url}/{agent.name}{agent.health_path}"
    return await _asked(_probe(context), url, partial(health_problems, expected))


async def _ready(context: CheckContext, agent: Agent) -> list[str]:
    url = f"{context.url}/{agent.name}/ready"
    return await _asked(_probe(context), url, partial(ready_problems, agent.name))


def _probe(context: CheckContext) -> Probe:
    """Return what sends requests: the context's, or from here where it has none."""
    return getattr(context, "probe", DIRECT)


async def _all(context: CheckContext, one: Callable, state: str, expected: str) -> Finding:  # type: ignore[type-arg]
    agents = context.config.agents
    found = [text for texts in await parallel(one, agents) for text in texts]
    return judged(
        found,
        Evidence("agents", len(agents), len(agents)),
        observed=f"{len(agents)} agents are {state} at {context.url}",
        expected=expected,
    )


def health_problems(expected: Expected, answer: elb.Answer) -> list[str]:
    """Return what is wrong with an agent's answer to `/health`; pure."""
    if answer.status != 200:
        return [f"{expected.agent} answers {answer}"]
    wanted = {"status": "healthy", **vars(expected)}
    return [
        f"{expected.agent} says {name} {answer.body.get(name)!r}, not {value!r}"
        for name, value in wanted.items()
        if answer.body.get(name) != value
    ]


def ready_problems(agent: str, answer: elb.Answer) -> list[str]:
    """Return what is wrong with an agent's answer to `/ready`; pure."""
    return [f"{agent} is not ready: {answer}"] * (answer.status != 200)


async def _asked(probe: Probe, url: str, problems: Callable[[elb.Answer], list[str]]) -> list[str]:
    """Ask until the answer is right; return what is wrong with the last one.

    A cold start or one lost request is not a failure.

    Raises:
        ProbeError: the last request could not be sent.
    """
    deadline = anyio.current_time() + ANSWER_SECONDS
    while True:
        answer = await probe.get(url)
        found = problems(answer)
        if not found or anyio.current_time() >= deadline:
            if not answer.examined:
                raise ProbeError(answer.error)
            return found
        await anyio.sleep(PAUSE)


async def _silent(context: CheckContext, group: str, streams: list[str]) -> list[str]:
    """Return the streams without an event, after waiting for lines that may still arrive."""
    deadline = anyio.current_time() + LOG_SECONDS
    silent = streams
    while True:
        lines = await parallel(lambda s: logs.tail(context.aws, group, s, lines=1), silent)
        silent = [s for s, found in zip(silent, lines, strict=True) if not found]
        if not silent or anyio.current_time() >= deadline:
            return silent
        await anyio.sleep(PAUSE)


def _without_model(context: CheckContext) -> str:
    return "" if context.env.model else "no model is configured"


CHECKS = (
    Check(
        id="smoke.cluster",
        title="the cluster is active",
        run=cluster_active,
        severity=Severity.CRITICAL,
        reads=("ecs:DescribeClusters",),
        why="without it nothing runs",
        remedy="./acso plan shows whether the stack is complete; ./acso deploy repairs it",
    ),
    Check(
        id="smoke.services",
        title="all services run",
        run=services_running,
        severity=Severity.CRITICAL,
        reads=("ecs:ListServices", "ecs:DescribeServices"),
        why="a missing service, or one without tasks, answers nobody",
        remedy="./acso status and ./acso logs say why its tasks stop",
    ),
    Check(
        id="smoke.images",
        title="the tasks run what was released",
        run=images_deployed,
        severity=Severity.CRITICAL,
        reads=("ecs:DescribeTaskDefinition", "ecs:DescribeTasks", "dynamodb:Query"),
        why="a tag can be moved, and a task of an old revision is another version",
        remedy="./acso deploy moves every service to the release",
    ),
    Check(
        id="smoke.logs",
        title="the agents write logs",
        run=logs_written,
        severity=Severity.HIGH,
        reads=("logs:DescribeLogGroups", "logs:GetLogEvents"),
        why="the cause of a failure is in the log or nowhere",
        remedy="the execution role needs logs:CreateLogStream and logs:PutLogEvents",
    ),
    Check(
        id="smoke.bedrock",
        title="Bedrock is reachable",
        run=bedrock_reachable,
        severity=Severity.HIGH,
        reads=("GET /model",),
        why="without a model the supervisor plans by rules alone",
        remedy="allow the model in the account, the role's way to it, and the network's to Bedrock",
        applies=_without_model,
        patience=20,
        seconds=60,
    ),
    Check(
        id="smoke.health",
        title="the agents are healthy",
        run=agents_healthy,
        severity=Severity.CRITICAL,
        reads=("GET /health",),
        why="an agent of another version, or none, is not what was released",
        remedy="./acso logs --env ENV --agent NAME",
    ),
    Check(
        id="smoke.ready",
        title="the agents are ready",
        run=agents_ready,
        severity=Severity.CRITICAL,
        reads=("GET /ready",),
        why="an agent that cannot reach its state answers every request with an error",
        remedy="the answer names the dependency that failed",
    ),
)
