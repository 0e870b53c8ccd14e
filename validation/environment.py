"""What several checks read of an environment, each once for a suite."""

from collections.abc import Mapping
from dataclasses import dataclass

from ci.aws import cloudformation, ecs, records
from ci.aws.records import Document
from ci.common.concurrency import parallel
from validation.model import CheckContext, UnreadableError


@dataclass(frozen=True, kw_only=True)
class Running:
    """What ECS has of the agents: services, other services' names, tasks, and definitions.

    Attributes:
        services: of agents, by agent; an agent without a service is missing.
        strays: names of services of the cluster that belong to no agent.
        tasks: running tasks, by agent.
        definitions: what the services run, by agent.
    """

    services: Mapping[str, ecs.Service]
    strays: tuple[str, ...]
    tasks: Mapping[str, tuple[ecs.Task, ...]]
    definitions: Mapping[str, ecs.TaskDefinition]


async def cluster_status(context: CheckContext) -> str:
    """Return the status of the environment's cluster; `missing` if there is none."""

    async def read() -> str:
        return await ecs.cluster_status(context.aws, context.env.cluster) or "missing"

    return await context.reads.get("cluster", read)


async def stack(context: CheckContext) -> cloudformation.Stack:
    """Return the environment's stack; raises `UnreadableError` if there is none."""
    name = context.env.prefix
    found = await context.reads.get("stack", lambda: cloudformation.stack(context.aws, name))
    if found is None:
        hint = f"./acso deploy --env {context.env.name} creates it"
        raise UnreadableError(f"there is no stack {name}", hint=hint)
    return found


async def output(context: CheckContext, name: str) -> str:
    """Return an output of the stack; raises `UnreadableError` if it has none of that name."""
    found = (await stack(context)).outputs.get(name)
    if not found:
        raise UnreadableError(f"the stack has no output {name}")
    return found


async def releases(context: CheckContext) -> list[Document]:
    """Return the environment's release records, newest first."""
    table = f"{context.env.prefix}-releases"
    return await context.reads.get(
        "releases", lambda: records.documents(context.aws, table, "release")
    )


async def running(context: CheckContext) -> Running:
    """Return what runs; nothing if the cluster does not exist."""
    return await context.reads.get("running", lambda: _running(context))


async def _running(context: CheckContext) -> Running:
    if await cluster_status(context) != "ACTIVE":
        return Running(services={}, strays=(), tasks={}, definitions={})
    aws, cluster = context.aws, context.env.cluster
    agents = {context.env.service(agent): agent.name for agent in context.config.agents}
    names = set(await ecs.service_names(aws, cluster))
    services = await ecs.services(aws, cluster, sorted(names & set(agents)))
    ids = await ecs.task_ids(aws, cluster)
    tasks = [task for task in await ecs.tasks(aws, cluster, ids) if task.status == "RUNNING"]
    found = await parallel(
        lambda service: ecs.task_definition(aws, service.revision), services.values()
    )
    return Running(
        services={agents[name]: service for name, service in services.items()},
        strays=tuple(sorted(names - set(agents))),
        tasks={
            agent: tuple(task for task in tasks if task.service == name)
            for name, agent in agents.items()
        },
        definitions={
            agents[name]: definition
            for name, definition in zip(services, found, strict=True)
            if definition is not None
        },
    )
