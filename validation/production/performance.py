"""How the agents have worked lately, compared with the thresholds of acso.toml."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import anyio

from ci.aws import metrics
from ci.aws.metrics import Figures, Metrics, Source
from ci.common.concurrency import parallel
from ci.config import Agent
from validation.environment import Running
from validation.model import (
    Check,
    CheckContext,
    Evidence,
    Finding,
    Severity,
    judged,
    not_examined,
)
from validation.production.inventory import agents, inventory, target_group

PAUSE, SECONDS = 15.0, 100.0
#: Requests to each agent before its own figures are read: of fewer, the 95th percentile would be
#: the first one, which is slow.
REQUESTS = 20
Figure = Callable[[Figures], float | None]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The figures by agent, and when they were measured."""

    figures: Mapping[str, Figures]
    period: str


async def measured(context: CheckContext) -> Measured:
    """Return the figures of each agent; waits for those of new tasks."""
    return await context.reads.get("figures", lambda: _measured(context))


async def _measured(context: CheckContext) -> Measured:
    reader, sources = await _metrics(context), await _sources(context)
    began = anyio.current_time()
    while True:
        found = await reader.figures(sources)
        complete = all(item.complete for item in found.values())
        if complete or anyio.current_time() - began >= reader.delay:
            return Measured(figures=found, period=reader.period)
        await anyio.sleep(PAUSE)


async def _metrics(context: CheckContext) -> Metrics:
    """Return what reads the figures: the embedded AWS has none, but its tasks count themselves."""
    if (await inventory(context)).embedded:
        await parallel(lambda agent: _asked(context, agent), context.config.agents)
        return metrics.TaskMetrics()
    return metrics.CloudWatch(aws=context.aws, window=context.env.thresholds.window)


async def _asked(context: CheckContext, agent: Agent) -> None:
    """Send requests to an agent, whose figures have them then."""
    for _ in range(REQUESTS):
        await context.probe.get(f"{context.url}/{agent.name}/ready")


async def _sources(context: CheckContext) -> dict[str, Source]:
    balancer = (await inventory(context)).one("LoadBalancer").rpartition(":loadbalancer/")[2]
    found, _ = await agents(context)
    return {
        agent: Source(
            cluster=context.env.cluster,
            service=service.name,
            balancer=balancer,
            group=target_group(service).rpartition(":")[2],
            tasks=_addresses(context, found, agent),
            cpu=context.env.task(context.config.agent(agent)).cpu,
            memory=context.env.task(context.config.agent(agent)).memory,
        )
        for agent, service in sorted(found.services.items())
    }


def _addresses(context: CheckContext, found: Running, agent: str) -> tuple[str, ...]:
    port = context.config.agent(agent).port
    return tuple(f"http://{task.address}:{port}" for task in found.tasks.get(agent, ()))


async def _compared(
    context: CheckContext, figure: Figure, limit: float, unit: str, *, reached: bool
) -> Finding:
    """Compare a figure of each agent with a limit; `reached`: the limit itself is too much."""
    seen = await measured(context)
    found = {agent: figure(item) for agent, item in seen.figures.items()}
    values = {agent: value for agent, value in found.items() if value is not None}
    evidence = Evidence("agents", len(values), len(context.config.agents))
    problems = [
        f"{agent}: {value:.1f} {unit}"
        for agent, value in sorted(values.items())
        if value > limit or (reached and value == limit)
    ]
    missing = [agent.name for agent in context.config.agents if agent.name not in values]
    if missing and not problems:
        return not_examined(f"no data of {', '.join(missing)} {seen.period}", evidence)
    most = max(values.values(), default=0.0)
    return judged(
        problems,
        evidence,
        observed=f"{most:.1f} {unit} at most {seen.period}",
        expected=f"{'less than' if reached else 'at most'} {limit:g} {unit} {seen.period}",
    )


async def cpu(context: CheckContext) -> Finding:
    """Check that no agent is short of CPU."""
    limit = context.env.thresholds.cpu
    return await _compared(context, lambda item: item.cpu, limit, "%", reached=False)


async def memory(context: CheckContext) -> Finding:
    """Check that no agent is short of memory."""
    limit = context.env.thresholds.memory
    return await _compared(context, lambda item: item.memory, limit, "%", reached=False)


async def latency(context: CheckContext) -> Finding:
    """Check that every agent answers in time."""
    limit = context.env.thresholds.latency_p95
    return await _compared(context, lambda item: item.latency, limit, "ms", reached=False)


async def errors(context: CheckContext) -> Finding:
    """Check that few answers of an agent are errors."""
    limit = context.env.thresholds.error_rate
    return await _compared(context, error_share, limit, "% of answers", reached=True)


def error_share(figures: Figures) -> float | None:
    """Return the percentage of answers that are 5xx; None if there was no request."""
    if not figures.requests or figures.errors is None:
        return None
    return 100 * figures.errors / figures.requests


READS = ("cloudwatch:GetMetricData", "GET /metrics")
CHECKS = (
    Check(
        id="performance.cpu",
        title="agents have CPU left",
        run=cpu,
        severity=Severity.MEDIUM,
        reads=READS,
        seconds=SECONDS,
        why="an agent without CPU answers late, and then fails its health checks",
        remedy="more tasks, or cpu of the agent in acso.toml",
    ),
    Check(
        id="performance.memory",
        title="agents have memory left",
        run=memory,
        severity=Severity.HIGH,
        reads=READS,
        seconds=SECONDS,
        why="ECS kills a task that needs more memory than it has",
        remedy="memory of the agent in acso.toml; ./acso logs shows what grows",
    ),
    Check(
        id="performance.latency",
        title="agents answer in time",
        run=latency,
        severity=Severity.MEDIUM,
        reads=READS,
        seconds=SECONDS,
        why="callers give up, and call again",
        remedy="./acso logs --env ENV --agent NAME; more tasks or CPU",
    ),
    Check(
        id="performance.errors",
        title="agents answer without errors",
        run=errors,
        severity=Severity.HIGH,
        reads=READS,
        seconds=SECONDS,
        why="each of them is a request that somebody lost",
        remedy="./acso logs --env ENV --agent NAME; ./acso rollback",
    ),
)
