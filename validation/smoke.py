"""Smoke checks: the cluster is active, agents run, log and answer, Bedrock offers a model."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import anyio

from ci.aws import ecs, elb, logs
from ci.aws.probing import Probe
from ci.common.concurrency import parallel
from ci.config import Agent
from ci.errors import ProbeError
from validation.model import Check, CheckContext, Finding, failed, passed

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
    status = await ecs.cluster_status(context.aws, context.env.cluster)
    observed, expected = f"{context.env.cluster} is {status or 'missing'}", "ACTIVE"
    return passed(observed, expected) if status == expected else failed(observed, expected)


async def services_running(context: CheckContext) -> Finding:
    """Check that the agents' services run, with all their tasks and one deployment each.

    Other services of the cluster are reported, and no failure: a release that removes an agent
    removes its service after it has succeeded.
    """
    wanted = {context.env.service(agent) for agent in context.config.agents}
    expected = f"{len(wanted)} services, running = desired > 0, one deployment each"
    cluster = context.env.cluster
    if await ecs.cluster_status(context.aws, cluster) != "ACTIVE":
        return failed(f"cluster {cluster} does not exist", expected)
    names = set(await ecs.service_names(context.aws, cluster))
    problems = [f"{name} is missing" for name in sorted(wanted - names)]
    found = await ecs.services(context.aws, cluster, sorted(names & wanted))
    scaled = {
        context.env.service(agent)
        for agent in context.config.agents
        if context.env.task(agent).scaling
    }
    problems += [
        text for name in sorted(found) for text in problems_of(found[name], scaled=name in scaled)
    ]
    if problems:
        return failed("; ".join(problems), expected)
    tasks = sum(service.running for service in found.values())
    others = f"; services of no agent: {', '.join(sorted(names - wanted))}" * bool(names - wanted)
    return passed(f"{len(found)} services with {tasks} tasks{others}", expected)


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


async def logs_written(context: CheckContext) -> Finding:
    """Check that the log group exists and every running task has written to it."""
    group = context.env.log_group
    expected = "a log stream with events for every running task"
    if not await logs.group_exists(context.aws, group):
        return failed(f"log group {group} does not exist", expected)
    tasks = await _running(context)
    idle = [agent.name for agent in context.config.agents if not tasks[agent.name]]
    if idle:
        return failed(f"no running task of {', '.join(idle)}", expected)
    streams = [
        f"{agent.name}/{agent.container}/{task}"
        for agent in context.config.agents
        for task in tasks[agent.name]
    ]
    silent = await _silent(context, group, streams)
    if silent:
        hint = "the execution role needs logs:CreateLogStream and logs:PutLogEvents"
        return failed(f"nothing written to {', '.join(silent)}", expected, hint=hint)
    return passed(f"{len(streams)} tasks write to {group}", expected)


async def bedrock_reachable(context: CheckContext) -> Finding:
    """Check that Bedrock offers at least one model in the region."""
    answer = await context.aws.call("bedrock", "list_foundation_models")
    models = answer["modelSummaries"]
    observed, expected = f"{len(models)} models in {context.aws.region}", "one model or more"
    return passed(observed, expected) if models else failed(observed, expected)


async def agents_answer(context: CheckContext) -> Finding:
    """Check that every agent answers through the load balancer, with the deployed version."""
    expected = "HTTP 200, healthy, ready, with the deployed version and digest"
    problems = await parallel(lambda agent: _answers(context, agent), context.config.agents)
    found = [text for texts in problems for text in texts]
    if found:
        return failed("; ".join(found), expected)
    return passed(f"{len(problems)} agents are healthy and ready at {context.url}", expected)


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


async def _answers(context: CheckContext, agent: Agent) -> list[str]:
    name = context.env.service(agent)
    service = (await ecs.services(context.aws, context.env.cluster, [name])).get(name)
    definition = await ecs.task_definition(context.aws, service.revision) if service else None
    if definition is None:
        return [f"{agent.name} has no service with a task definition"]
    expected = Expected(
        agent=agent.name,
        environment=context.env.name,
        version=definition.environment.get("ACSO_VERSION", ""),
        digest=definition.image.partition("@")[2],
    )
    base = f"{context.url}/{agent.name}"
    questions = [
        (base + agent.health_path, partial(health_problems, expected)),
        (f"{base}/ready", partial(ready_problems, expected)),
    ]
    health, ready = await parallel(lambda each: _asked(context.probe, *each), questions)
    return [*health, *ready]


def ready_problems(expected: Expected, answer: elb.Answer) -> list[str]:
    """Return what is wrong with an agent's answer to `/ready`; pure."""
    return [f"{expected.agent} is not ready: {answer}"] * (answer.status != 200)


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


async def _running(context: CheckContext) -> dict[str, list[str]]:
    """Return the ids of each agent's running tasks."""
    names = {context.env.service(agent): agent.name for agent in context.config.agents}
    ids = await ecs.task_ids(context.aws, context.env.cluster)
    found: dict[str, list[str]] = {agent: [] for agent in names.values()}
    for task in await ecs.tasks(context.aws, context.env.cluster, ids):
        if task.status == "RUNNING" and task.service in names:
            found[names[task.service]].append(task.id)
    return found


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


CHECKS = (
    Check(name="cluster", sentence="the cluster is active", run=cluster_active),
    Check(name="services", sentence="all services run", run=services_running),
    Check(name="logs", sentence="the agents write logs", run=logs_written),
    Check(name="bedrock", sentence="Bedrock is reachable", run=bedrock_reachable),
    Check(name="agents", sentence="the agents answer", run=agents_answer),
)
