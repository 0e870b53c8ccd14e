"""How the agents have worked lately, compared with the thresholds of acso.toml."""

import datetime
from collections.abc import Callable, Mapping

import anyio

from ci.aws.audit import metrics
from ci.aws.audit.metrics import Figures, Source
from validation.model import (
    Check,
    CheckContext,
    Evidence,
    Finding,
    Severity,
    UnreadableError,
    judged,
    not_examined,
)
from validation.production.inventory import agents, inventory, target_group

#: CloudWatch has the figures of a new task after a minute or two.
PATIENCE, PAUSE, SECONDS = 75.0, 15.0, 100.0
Figure = Callable[[Figures], float | None]


async def measured(context: CheckContext) -> Mapping[str, Figures]:
    """Return the figures of each agent; waits for those of new tasks.

    Raises:
        UnreadableError: the embedded AWS, which has none.
    """
    return await context.reads.get("figures", lambda: _measured(context))


async def _measured(context: CheckContext) -> Mapping[str, Figures]:
    if (await inventory(context)).embedded:
        raise UnreadableError("the embedded AWS has no metrics of services and load balancers")
    sources = await _sources(context)
    began = anyio.current_time()
    while True:
        found = await metrics.figures(
            context.aws,
            sources,
            end=datetime.datetime.now(datetime.UTC),
            window=context.env.thresholds.window,
        )
        complete = all(item.complete for item in found.values())
        if complete or anyio.current_time() - began >= PATIENCE:
            return found
        await anyio.sleep(PAUSE)


async def _sources(context: CheckContext) -> dict[str, Source]:
    balancer = (await inventory(context)).one("LoadBalancer").rpartition(":loadbalancer/")[2]
    found, _ = await agents(context)
    return {
        agent: Source(
            cluster=context.env.cluster,
            service=service.name,
            balancer=balancer,
            group=target_group(service).rpartition(":")[2],
        )
        for agent, service in sorted(found.services.items())
    }


async def _compared(
    context: CheckContext, figure: Figure, limit: float, unit: str, *, reached: bool
) -> Finding:
    """Compare a figure of each agent with a limit; `reached`: the limit itself is too much."""
    found = {agent: figure(item) for agent, item in (await measured(context)).items()}
    values = {agent: value for agent, value in found.items() if value is not None}
    evidence = Evidence("agents", len(values), len(context.config.agents))
    window = f"in the last {context.env.thresholds.window} s"
    problems = [
        f"{agent}: {value:.1f} {unit}"
        for agent, value in sorted(values.items())
        if value > limit or (reached and value == limit)
    ]
    missing = [agent.name for agent in context.config.agents if agent.name not in values]
    if missing and not problems:
        return not_examined(f"no data of {', '.join(missing)} {window}", evidence)
    most = max(values.values(), default=0.0)
    return judged(
        problems,
        evidence,
        observed=f"{most:.1f} {unit} at most {window}",
        expected=f"{'less than' if reached else 'at most'} {limit:g} {unit} {window}",
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


READS = ("cloudwatch:GetMetricData",)
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
        remedy="./acso metrics shows since which release; more tasks or CPU",
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
