"""Whether an environment survives the loss of a task or of a zone."""

from ci.aws import ecs
from ci.aws.audit import scaling
from ci.config import PROTECTED, Agent
from validation.model import Check, CheckContext, Evidence, Finding, Severity, judged, not_examined
from validation.production.inventory import agents, expected, settings, with_tasks

TASKS = 2  # of an agent, that one may be lost
ZONES = 2


def needed(context: CheckContext) -> str:
    """Say why an environment may have one task of each agent: acso.toml wants no more."""
    env = context.env
    least = [env.task(agent).desired_count for agent in context.config.agents]
    if env.name == PROTECTED or max(least, default=0) >= TASKS:
        return ""
    return f"acso.toml wants one task of each agent in {env.name}"


def any_scaled(context: CheckContext) -> str:
    """Say why nothing is scaled: acso.toml has no `scaling` for the environment."""
    return "" if _scaled(context) else f"acso.toml scales no agent in {context.env.name}"


def _scaled(context: CheckContext) -> list[Agent]:
    return [agent for agent in context.config.agents if context.env.task(agent).scaling]


def _least(context: CheckContext, agent: str) -> int:
    """Return how many tasks an agent must have: two in production, otherwise those of acso.toml."""
    wanted = context.env.task(context.config.agent(agent)).desired_count
    return max(wanted, TASKS) if context.env.name == PROTECTED else wanted


async def desired_tasks(context: CheckContext) -> Finding:
    """Check that each agent has so many tasks that one may be lost."""
    found, evidence = await agents(context)
    problems = [
        f"{service.name} wants {service.desired} of {_least(context, agent)} tasks"
        for agent, service in sorted(found.services.items())
        if service.desired < _least(context, agent)
    ]
    least = min((service.desired for service in found.services.values()), default=0)
    return judged(
        problems,
        evidence,
        observed=f"each of {len(found.services)} services wants {least} tasks or more",
        expected=f"{TASKS} tasks or more in production, elsewhere those of acso.toml",
    )


async def zones(context: CheckContext) -> Finding:
    """Check that the tasks of an agent run in two zones or more."""
    found, evidence = await agents(context)
    running = [task for tasks in found.tasks.values() for task in tasks]
    problems = []
    for agent, tasks in sorted(found.tasks.items()):
        if _least(context, agent) >= TASKS:
            seen = sorted({task.zone for task in tasks if task.zone})
            where = ", ".join(seen) or "no zone"
            problems += [f"{agent}: {len(tasks)} tasks in {where}"] * (len(seen) < ZONES)
    known = [task for task in running if task.zone]
    # A task whose zone ECS does not say is no evidence that it is in the wrong one.
    problems = problems if len(known) == len(running) else []
    return judged(
        problems,
        evidence,
        Evidence("tasks", len(known), len(running)),
        with_tasks(found),
        observed=f"{len(running)} tasks are spread over zones",
        expected=f"tasks of each agent in {ZONES} zones or more",
    )


async def deployments(context: CheckContext) -> Finding:
    """Check that a deployment leaves enough tasks, and that ECS ends one that fails."""
    found, evidence = await agents(context)
    problems = [
        f"{service.name} {text}"
        for _, service in sorted(found.services.items())
        for text in deployment_problems(service)
    ]
    return judged(
        problems,
        evidence,
        observed=f"{len(found.services)} services keep their tasks while they are deployed",
        expected="half of the tasks or more stay (all of one), circuit breaker with rollback",
    )


def deployment_problems(service: ecs.Service) -> list[str]:
    """Return what is wrong with how a service is deployed; pure."""
    found = settings(service).get("deploymentConfiguration") or {}
    healthy = found.get("minimumHealthyPercent", 100)  # ECS's defaults
    least = 50 if service.desired >= TASKS else 100
    breaker = found.get("deploymentCircuitBreaker") or {}
    return [
        *[f"keeps {healthy} % of its tasks, not {least} %"] * (healthy < least),
        *["has no circuit breaker"] * (not breaker.get("enable")),
        *["does not roll back"] * (bool(breaker.get("enable")) and not breaker.get("rollback")),
    ]


async def scaling_targets(context: CheckContext) -> Finding:
    """Check that autoscaling is as acso.toml says."""
    wanted = _scaled(context)
    names = [context.env.service(agent) for agent in wanted]
    running, _ = await agents(context)
    there = [context.env.service(context.config.agent(name)) for name in running.services]
    evidence = expected([name for name in names if name in there], names, "scaled services")
    if evidence.read < evidence.of:
        return not_examined(f"read {evidence}", evidence)
    found = await scaling.targets(context.aws, context.env.cluster, names)
    problems = []
    for agent, name in zip(wanted, names, strict=True):
        limits = context.env.task(agent).scaling
        target = found.get(name)
        if target is None or limits is None:
            problems.append(f"{name} is not scaled")
            continue
        if (target.least, target.most) != (limits.min, limits.max):
            problems.append(
                f"{name} is scaled from {target.least} to {target.most} tasks, "
                f"not from {limits.min} to {limits.max}"
            )
        problems += [f"the scaling of {name} has no policy"] * (not target.policies)
        problems += [f"the scaling of {name} is suspended"] * target.suspended
    return judged(
        problems,
        evidence,
        observed=f"{len(found)} services are scaled as in acso.toml",
        expected="limits as in acso.toml, a policy, not suspended",
    )


SERVICES = ("ecs:ListServices", "ecs:DescribeServices")
CHECKS = (
    Check(
        id="availability.desired",
        title="one task may be lost",
        run=desired_tasks,
        severity=Severity.HIGH,
        reads=SERVICES,
        applies=needed,
        why="an agent with one task answers nobody while that one is replaced",
        remedy="set desired_count of the environment or agent in acso.toml to 2 or more",
    ),
    Check(
        id="availability.zones",
        title="one zone may be lost",
        run=zones,
        severity=Severity.HIGH,
        reads=("ecs:ListTasks", "ecs:DescribeTasks"),
        applies=needed,
        why="tasks of one zone fail together",
        remedy="the services need subnets of two zones; a forced deployment spreads the tasks",
        patience=20.0,
    ),
    Check(
        id="availability.deployment",
        title="deployments keep tasks and end when they fail",
        run=deployments,
        severity=Severity.HIGH,
        reads=SERVICES,
        why="a deployment that stops tasks first is an outage each time",
        remedy="./acso deploy sets deploymentConfiguration of the services again",
    ),
    Check(
        id="availability.scaling",
        title="autoscaling is as in acso.toml",
        run=scaling_targets,
        severity=Severity.MEDIUM,
        reads=(
            "application-autoscaling:DescribeScalableTargets",
            "application-autoscaling:DescribeScalingPolicies",
        ),
        applies=any_scaled,
        why="a target that is gone or suspended scales nothing, and nobody sees it",
        remedy="./acso deploy creates the targets again",
    ),
)
