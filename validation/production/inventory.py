"""What belongs to an environment: what its stack lists, and what has its name.

What somebody added by hand, with a name of the environment, is examined like the rest.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ci.aws import ecs
from ci.aws.audit import stacks
from validation import environment
from validation.model import CheckContext, Evidence, UnreadableError


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """An environment's stack: its parameters and its resources."""

    parameters: Mapping[str, str]
    resources: tuple[stacks.Resource, ...]

    @property
    def embedded(self) -> bool:
        """Whether the stack is in the embedded AWS."""
        return self.parameters.get("Embedded") == "true"

    def of(self, kind: str) -> frozenset[str]:
        """Return the ids of the resources of a type, such as `AWS::S3::Bucket`."""
        return frozenset(item.id for item in self.resources if item.kind == kind)

    def one(self, logical_id: str) -> str:
        """Return the id of a resource by its name in the template; raises `UnreadableError`."""
        found = next((item.id for item in self.resources if item.logical_id == logical_id), "")
        if not found:
            raise UnreadableError(f"the stack has no resource {logical_id}")
        return found

    @property
    def evidence(self) -> Evidence:
        """What was read of the stack."""
        return Evidence("resources of the stack", len(self.resources), len(self.resources))


async def inventory(context: CheckContext) -> Inventory:
    """Return what the environment's stack lists; raises `UnreadableError` if it lists nothing."""
    return await context.reads.get("inventory", lambda: _inventory(context))


async def _inventory(context: CheckContext) -> Inventory:
    name = context.env.prefix
    stack = await environment.stack(context)
    found = await stacks.resources(context.aws, name)
    if not found:
        raise UnreadableError(f"the stack {name} lists no resource")
    return Inventory(parameters=stack.parameters, resources=tuple(found))


def own(context: CheckContext, name: str) -> bool:
    """Return whether a name is one of this environment's, and not of one with a longer name."""
    prefixes = [env.prefix for env in context.config.environments.values()]
    named = [prefix for prefix in prefixes if name == prefix or name.startswith(f"{prefix}-")]
    return context.env.prefix == max(named, key=len, default="")


def expected(read: Collection[str], listed: Collection[str], what: str) -> Evidence:
    """Return the evidence of resources: of those that the stack lists, how many were found."""
    missing = set(listed) - set(read)
    return Evidence(what, len(read), len(read) + len(missing))


def settings(service: ecs.Service) -> Mapping[str, Any]:
    """Return the settings of a service as UpdateService has them."""
    found: Mapping[str, Any] = json.loads(service.arguments)
    return found


def target_group(service: ecs.Service) -> str:
    """Return the ARN of a service's target group, empty if it has none."""
    found = settings(service).get("loadBalancers") or [{}]
    return str(found[0].get("targetGroupArn", ""))


async def agents(context: CheckContext) -> tuple[environment.Running, Evidence]:
    """Return what runs, and how many of the agents' services were found."""
    found = await environment.running(context)
    return found, Evidence("services", len(found.services), len(context.config.agents))


def with_tasks(found: environment.Running) -> Evidence:
    """Return how many of the agents that run have tasks."""
    busy = [agent for agent in found.services if found.tasks.get(agent)]
    return Evidence("agents with tasks", len(busy), len(found.services))


def names(items: Iterable[str]) -> str:
    """Return names as text, in their order."""
    return ", ".join(sorted(items))
