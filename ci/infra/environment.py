"""The stacks of the registry and of an environment, and the outputs of the latter."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ci.aws import cloudformation, ecs, iam
from ci.aws.cloudformation import DesiredStack, ResourceChange, Stack
from ci.aws.session import Aws
from ci.aws.target import Target
from ci.config import PROTECTED, Config
from ci.errors import InfrastructureError
from ci.infra import parameters, templates
from ci.infra.phases import refuse_fixed
from ci.infra.stacks import DONE, NOT_CREATED, Say, changes, create_or_update, remove
from ci.infra.templates import key

GITHUB = "token.actions.githubusercontent.com"
#: What a plan shows as the ARN of a resource that does not exist yet.
PENDING = "(created with the infrastructure)"


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Outputs of an environment's stack: names, ids and ARNs, some of them by agent."""

    cluster: str
    subnets: tuple[str, ...]
    security_group: str
    scaled: tuple[str, ...]
    target_groups: Mapping[str, str]
    execution_role: str
    task_roles: Mapping[str, str]
    log_group: str
    load_balancer_name: str
    url: str  # base URL of the load balancer
    releases_table: str
    state_table: str
    people_secret: str  # ARN of the tokens of people who use the agents
    agents_secret: str  # ARN of the token with which agents call each other
    topic: str
    kms_key: str
    probe_role: str = ""  # ARN of the role of tasks that send requests from inside the network
    probe_security_group: str = (
        ""  # their security group's id; both only if the load balancer is internal
    )


async def apply_registry(target: Target, say: Say) -> None:
    """Create or update the image repositories of the agents; raises `InfrastructureError`."""
    await create_or_update(target.aws, await _registry(target), say)


async def apply(target: Target, say: Say) -> Outputs:
    """Create or update an environment's infrastructure and return its outputs.

    Raises:
        InfrastructureError: it failed, and CloudFormation rolled the stack back.
    """
    return _outputs(target, await apply_stack(target, desired(target), say))


async def apply_stack(target: Target, to: DesiredStack, say: Say) -> Stack:
    """Create or update an environment's stack; production's is protected from deletion."""
    stack = await create_or_update(target.aws, to, say)
    if target.env.name == PROTECTED and not stack.protected:
        await cloudformation.protect(target.aws, to.name, protected=True)
    return stack


async def preview(target: Target) -> list[ResourceChange]:
    """Return what `apply_registry` and `apply` would change; changes no resource.

    Raises:
        InfrastructureError: a setting changes that is fixed once the environment exists.
    """
    wanted, now = desired(target), await current(target)
    if now is not None:
        refuse_fixed(now, wanted)
    registry = await changes(target.aws, await _registry(target))
    return registry + await changes(target.aws, wanted)


@dataclass(frozen=True, kw_only=True)
class StackFacts:
    """A checksum of each stack by name: as it is now, and as it should be.

    Two checksums are equal if template, parameters and tags are equal. Changes made by hand to a
    resource (drift) do not show in them.
    """

    current: Mapping[str, str]
    desired: Mapping[str, str]


async def stack_facts(target: Target) -> StackFacts:
    """Return the checksums of the registry's and the environment's stacks."""
    wanted = (await _registry(target), desired(target))
    return StackFacts(
        current={
            f"stack {item.name}": await _current_checksum(target.aws, item.name) for item in wanted
        },
        desired={f"template of {item.name}": _checksum(item) for item in wanted},
    )


async def _current_checksum(aws: Aws, name: str) -> str:
    stack = await cloudformation.stack(aws, name)
    content = await _content(aws, stack) if stack else None
    if stack is None or content is None:
        return "absent"
    state = "" if stack.status in DONE else f" {stack.status}"
    return _checksum(content) + state


async def current(target: Target) -> DesiredStack | None:
    """Return what an environment's stack was made from; None if it does not exist."""
    stack = await cloudformation.stack(target.aws, target.env.prefix)
    return await _content(target.aws, stack) if stack else None


async def _content(aws: Aws, stack: Stack) -> DesiredStack | None:
    if stack.status in NOT_CREATED:
        return None
    template = await cloudformation.template(aws, stack.name)
    return DesiredStack(
        name=stack.name, template=template, parameters=stack.parameters, tags=stack.tags
    )


def _checksum(stack: DesiredStack) -> str:
    parts = [stack.template, sorted(stack.parameters.items()), sorted(stack.tags.items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


async def outputs(target: Target, agents: Sequence[str] | None = None) -> Outputs | None:
    """Return an environment's outputs, None if it was never applied.

    Args:
        target: the environment.
        agents: whose outputs to return; None: those of the agents in acso.toml.
    """
    stack = await cloudformation.stack(target.aws, target.env.prefix)
    if stack is None or stack.status in NOT_CREATED or "Cluster" not in stack.outputs:
        return None
    return _outputs(target, stack) if agents is None else outputs_of(target, stack, agents)


def with_new_agents(outputs: Outputs, config: Config) -> Outputs:
    """Return the outputs with `PENDING` for agents whose resources do not exist yet; pure.

    For plans only: acso.toml has such an agent, and the next deploy creates its resources.
    """
    pending = {agent.name: PENDING for agent in config.agents}
    return replace(
        outputs,
        target_groups={**pending, **outputs.target_groups},
        task_roles={**pending, **outputs.task_roles},
    )


async def delete(target: Target, say: Say) -> None:
    """Delete an environment's infrastructure; the repositories stay.

    Raises:
        InfrastructureError: services still run in it, it is protected, or a resource of it cannot
            be deleted.
    """
    running = await _services(target)
    if running:
        # CloudFormation would fail after minutes, with half of the stack deleted.
        message = f"{target.env.name} still has services: {', '.join(running)}"
        raise InfrastructureError(message, hint="delete them first; nothing was deleted")
    await remove(target.aws, target.env.prefix, say)


async def _services(target: Target) -> list[str]:
    aws, environment = target.aws, target.env
    if await ecs.cluster_status(aws, environment.cluster) != "ACTIVE":
        return []
    names = [environment.service(agent) for agent in target.config.agents]
    found = await ecs.services(aws, environment.cluster, names)
    return sorted(name for name, service in found.items() if service.status != "INACTIVE")


async def _registry(target: Target) -> DesiredStack:
    aws, config = target.aws, target.config
    wants_provider = config.project.repository is not None and aws.endpoint is None
    stack = await cloudformation.stack(aws, templates.REGISTRY_STACK)
    provider = wants_provider and not await _provider_exists(aws, stack)
    agents = {**await _with_repositories(aws, stack), **templates.registry_mapping(config.agents)}
    return DesiredStack(
        name=templates.REGISTRY_STACK,
        template=templates.registry(agents),
        parameters=parameters.registry_parameters(target, agents, provider=provider),
        tags={"project": config.project.name},
    )


async def _with_repositories(aws: Aws, stack: Stack | None) -> templates.Mapped:
    """Return the agents of the registry's stack.

    All environments share it: one whose acso.toml has fewer agents must not remove repositories.
    """
    content = await _content(aws, stack) if stack else None
    known = templates.mapped(content.template) if content else {}
    return {key: {"Name": values["Name"]} for key, values in known.items()}


async def _provider_exists(aws: Aws, stack: Stack | None) -> bool:
    """Return whether the account has GitHub's identity provider from elsewhere than our stack.

    An account can have only one; the provider may exist already, or belong to the stack of another
    region. AWS would refuse a second one, and the whole stack with it.
    """
    if stack is not None and "IdentityProvider" in stack.outputs:
        return False
    return GITHUB in await iam.identity_providers(aws)


def desired(target: Target) -> DesiredStack:
    """Return an environment's stack as acso.toml defines it; pure."""
    return DesiredStack(
        name=target.env.prefix,
        template=templates.environment(target.config.agents, parameters.facts(target), target.env),
        parameters=parameters.environment_parameters(target),
        tags={
            **target.env.tags,
            "project": target.config.project.name,
            "environment": target.env.name,
        },
        imports=target.env.import_existing,
    )


def outputs_of(target: Target, stack: Stack, agents: Iterable[str]) -> Outputs:
    """Return a stack's outputs, with those of these agents that it has."""
    found = stack.outputs
    name = found["LoadBalancerName"]
    pattern = target.aws.load_balancer
    address = found.get("Url") or f"http://{found['LoadBalancerHost']}"
    # An agent that was added to acso.toml after the last apply has no outputs yet.
    known = [agent for agent in agents if f"TaskRole{key(agent)}" in found]
    return Outputs(
        cluster=found["Cluster"],
        subnets=tuple(found["Subnets"].split(",")),
        security_group=found["SecurityGroup"],
        scaled=tuple(filter(None, stack.parameters.get("Scaled", "").split(","))),
        target_groups={agent: found[f"TargetGroup{key(agent)}"] for agent in known},
        execution_role=found["ExecutionRole"],
        task_roles={agent: found[f"TaskRole{key(agent)}"] for agent in known},
        log_group=found["LogGroup"],
        load_balancer_name=name,
        url=pattern.format(name=name) if pattern else address,
        releases_table=found["ReleasesTable"],
        state_table=found["StateTable"],
        # A stack of an earlier version has none; the next deploy creates them.
        people_secret=found.get("PeopleSecret", PENDING),
        agents_secret=found.get("AgentsSecret", PENDING),
        topic=found["Topic"],
        kms_key=found["KeyArn"],
        probe_role=found.get("ProbeRole", ""),
        probe_security_group=found.get("ProbeSecurityGroup", ""),
    )


def _outputs(target: Target, stack: Stack) -> Outputs:
    return outputs_of(target, stack, [agent.name for agent in target.config.agents])
