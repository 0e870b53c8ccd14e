"""The registry and the environments as stacks, and what an environment offers its services."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ci.aws import cloudformation, ecs, iam
from ci.aws.cloudformation import ResourceChange, Stack, Wanted
from ci.aws.session import Aws
from ci.aws.target import Target
from ci.config import Config
from ci.errors import InfrastructureError
from ci.infra import templates
from ci.infra.stacks import DONE, NEVER_MADE, Say, bring, changes, remove
from ci.infra.templates import key

PROTECTED = "production"
GITHUB = "token.actions.githubusercontent.com"
#: What a plan shows as the ARN of a resource that does not exist yet.
PENDING = "(created with the infrastructure)"


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What an environment offers: names, ids and ARNs, by agent where each has its own."""

    cluster: str
    subnets: tuple[str, ...]
    security_group: str
    target_groups: Mapping[str, str]
    execution_role: str
    task_roles: Mapping[str, str]
    log_group: str
    load_balancer_name: str
    url: str  # base URL of the load balancer
    releases_table: str
    state_table: str
    topic: str
    kms_key: str


async def apply_registry(target: Target, say: Say) -> None:
    """Bring the image repositories to acso.toml; raises `InfrastructureError`."""
    await bring(target.aws, await _registry(target), say)


async def apply(target: Target, say: Say) -> Outputs:
    """Bring an environment's infrastructure to its template and return what it offers.

    Raises:
        InfrastructureError: it did not get there; CloudFormation has put back what was before.
    """
    wanted = _environment(target)
    stack = await bring(target.aws, wanted, say)
    if target.environment.name == PROTECTED and not stack.protected:
        await cloudformation.protect(target.aws, wanted.name, protected=True)
    return _outputs(target, stack)


async def preview(target: Target) -> list[ResourceChange]:
    """Return what `apply_registry` and `apply` would change; nothing that lasts is touched."""
    registry = await changes(target.aws, await _registry(target))
    return registry + await changes(target.aws, _environment(target))


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The stacks by name, each as a short text: as they are, and as they should be.

    Two texts are the same only if template, parameters and tags are. What was changed by hand in
    a resource is not in it.
    """

    found: Mapping[str, str]
    wanted: Mapping[str, str]


async def standing(target: Target) -> Standing:
    """Return the registry's and the environment's stacks as they are and should be."""
    wanted = (await _registry(target), _environment(target))
    return Standing(
        found={f"stack {item.name}": await _found(target.aws, item.name) for item in wanted},
        wanted={f"template of {item.name}": _text(item) for item in wanted},
    )


async def _found(aws: Aws, name: str) -> str:
    stack = await cloudformation.stack(aws, name)
    if stack is None or stack.status in NEVER_MADE:
        return "absent"
    template = await cloudformation.template(aws, name)
    made_of = Wanted(name=name, template=template, parameters=stack.parameters, tags=stack.tags)
    state = "" if stack.status in DONE else f" {stack.status}"
    return _text(made_of) + state


def _text(made_of: Wanted) -> str:
    parts = [made_of.template, sorted(made_of.parameters.items()), sorted(made_of.tags.items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


async def outputs(target: Target) -> Outputs | None:
    """Return what an environment offers, None if it was never applied."""
    stack = await cloudformation.stack(target.aws, target.environment.prefix)
    if stack is None or stack.status in NEVER_MADE or "Cluster" not in stack.outputs:
        return None
    return _outputs(target, stack)


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
        # AWS would find out after minutes, with half of the stack gone.
        message = f"{target.environment.name} still has services: {', '.join(running)}"
        raise InfrastructureError(message, hint="delete them first; nothing was deleted")
    await remove(target.aws, target.environment.prefix, say)


async def _services(target: Target) -> list[str]:
    aws, environment = target.aws, target.environment
    if await ecs.cluster_status(aws, environment.cluster) != "ACTIVE":
        return []
    names = [environment.service(agent) for agent in target.config.agents]
    found = await ecs.services(aws, environment.cluster, names)
    return sorted(name for name, service in found.items() if service.status != "INACTIVE")


async def _registry(target: Target) -> Wanted:
    aws, config = target.aws, target.config
    wants_provider = config.project.repository is not None and aws.endpoint is None
    provider = wants_provider and not await _others_provider(aws)
    return Wanted(
        name=templates.REGISTRY_STACK,
        template=templates.registry(config.agents),
        parameters=templates.registry_parameters(target, provider=provider),
        tags={"project": config.project.name},
    )


async def _others_provider(aws: Aws) -> bool:
    """Whether the account has GitHub's identity provider, and not of our stack.

    It has at most one; whoever uses GitHub with AWS already has it, as has the stack of another
    region. AWS would refuse a second one and with it the whole stack.
    """
    stack = await cloudformation.stack(aws, templates.REGISTRY_STACK)
    if stack is not None and "IdentityProvider" in stack.outputs:
        return False
    return GITHUB in await iam.identity_providers(aws)


def _environment(target: Target) -> Wanted:
    return Wanted(
        name=target.environment.prefix,
        template=templates.environment(target.config.agents),
        parameters=templates.parameters(target),
        tags={"project": target.config.project.name, "environment": target.environment.name},
    )


def _outputs(target: Target, stack: Stack) -> Outputs:
    told = stack.outputs
    name = told["LoadBalancerName"]
    pattern = target.aws.load_balancer
    # An agent that acso.toml has gained since the last apply has no outputs yet.
    known = [agent.name for agent in target.config.agents if f"TaskRole{key(agent.name)}" in told]
    return Outputs(
        cluster=told["Cluster"],
        subnets=tuple(told["Subnets"].split(",")),
        security_group=told["SecurityGroup"],
        target_groups={agent: told[f"TargetGroup{key(agent)}"] for agent in known},
        execution_role=told["ExecutionRole"],
        task_roles={agent: told[f"TaskRole{key(agent)}"] for agent in known},
        log_group=told["LogGroup"],
        load_balancer_name=name,
        url=pattern.format(name=name) if pattern else f"http://{told['LoadBalancerHost']}",
        releases_table=told["ReleasesTable"],
        state_table=told["StateTable"],
        topic=told["Topic"],
        kms_key=told["KeyArn"],
    )
