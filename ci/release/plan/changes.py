"""What a deploy would change: each service as it is, compared with the desired service."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from ci.aws import ecs
from ci.release.model import Image, ReleaseContext, ServiceRevision, agents_of
from ci.release.plan.desired import DesiredService, desired_service
from ci.release.plan.diff import sides

GONE = ("INACTIVE", "DRAINING")
NO_SERVICES: Mapping[str, str] = MappingProxyType({})


class Action(StrEnum):
    """What is to be done with one service."""

    CREATE = "create"
    CHANGE = "change"
    REMOVE = "remove"  # after the release has succeeded
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class CurrentService:
    """One service as it is; None if it, or its task definition, does not exist."""

    service: ecs.Service | None
    definition: ecs.TaskDefinition | None = None

    @property
    def run(self) -> ServiceRevision | None:
        """What the service runs, read from its task definition."""
        if self.service is None:
            return None
        variables = self.definition.environment if self.definition else {}
        return ServiceRevision(
            revision=self.service.revision,
            version=variables.get("ACSO_VERSION", ""),
            digest=variables.get("ACSO_DIGEST", ""),
            desired=self.service.desired,
            settings=self.service.arguments,
        )


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a release does with one service, and why.

    `desired` is None if the agent is not in acso.toml any more. `register` is whether a new
    revision is needed. `diff` is a unified diff of the service's settings and task definition,
    secrets masked.
    """

    agent: str
    service: str
    desired: DesiredService | None
    current: CurrentService
    action: Action
    register: bool
    reasons: tuple[str, ...]
    diff: tuple[str, ...] = ()

    def data(self) -> dict[str, Any]:
        """Return the change for machines."""
        run = self.current.run
        return {
            "agent": self.agent,
            "service": self.service,
            "action": str(self.action),
            "reasons": list(self.reasons),
            "diff": list(self.diff),
            "revision": run.revision if run else None,
            "version": {
                "from": run.version if run else None,
                "to": self.desired.image.version if self.desired else None,
            },
        }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The changes of all services, in the order of acso.toml."""

    environment: str
    changes: tuple[Change, ...]

    @property
    def changed(self) -> bool:
        """Whether anything is to be done."""
        return any(change.action is not Action.NONE for change in self.changes)

    @property
    def found(self) -> dict[str, CurrentService]:
        """Every service as it was when it was compared, by the service's name."""
        return {change.service: change.current for change in self.changes}

    def text(self) -> str:
        """Return the plan for people: one line for each service, its differences below."""
        width = max((len(change.agent) for change in self.changes), default=0)
        lines = []
        for change in self.changes:
            why = "; ".join(change.reasons)
            lines.append(f"  {change.agent:<{width}}  {change.action:<6}  {why}".rstrip())
            lines += [f"      {line}" for line in change.diff]
        count = sum(change.action is not Action.NONE for change in self.changes)
        head = f"{count} of {len(self.changes)} services of {self.environment} would change"
        return "\n".join([head if count else f"nothing would change in {self.environment}", *lines])

    def data(self) -> dict[str, Any]:
        """Return the plan for machines."""
        return {
            "environment": self.environment,
            "changed": self.changed,
            "services": [change.data() for change in self.changes],
        }


def compare(
    desired: DesiredService, current: CurrentService, secrets: Sequence[str] = ()
) -> Change:
    """Compare one service with the desired one; pure.

    Args:
        desired: the service as it should be.
        current: the service as it is.
        secrets: values to mask, besides those that look like a secret.
    """
    service = current.service
    if service is not None:
        desired = desired.beside(service.desired)
    diff = sides(_document(current), _shown(desired), secrets).unified()
    if service is None:
        return Change(
            agent=desired.agent.name,
            service=desired.service,
            desired=desired,
            current=current,
            action=Action.CREATE,
            register=True,
            reasons=(f"new service, version {desired.image.version}",),
            diff=diff,
        )
    content = current.definition.content if current.definition else "{}"
    rolled = tuple(sides(content, desired.content, secrets).paths())
    settings = tuple(sides(service.settings, desired.settings, secrets).paths())
    failed = service.primary is not None and service.primary.state == "FAILED"
    stuck = ("its last deployment failed",) if failed and not rolled else ()
    changed = bool(rolled or settings or stuck)
    return Change(
        agent=desired.agent.name,
        service=desired.service,
        desired=desired,
        current=current,
        action=Action.CHANGE if changed else Action.NONE,
        # After a failed deployment, register a new revision even if nothing changed: its tasks
        # can then be told apart from those that failed before.
        register=bool(rolled or stuck),
        reasons=_versioned(current, desired, rolled) + settings + stuck,
        diff=diff,
    )


def _document(current: CurrentService) -> str:
    """Return the settings and the task definition of a service as it is, as one text."""
    if current.service is None:
        return "{}"
    definition = current.definition.content if current.definition else "{}"
    return _joined(current.service.settings, definition)


def _shown(desired: DesiredService) -> str:
    """Return the settings and the task definition of a desired service, as one text.

    An image that is not pushed yet has no reference; a placeholder is shown in its place.
    """
    if desired.image.reference:
        return _joined(desired.settings, desired.content)
    placeholder = f"(version {desired.image.version}, not pushed yet)"
    content = json.loads(desired.content)
    for container in content["containerDefinitions"]:
        container["image"] = placeholder
        for entry in container.get("environment", ()):
            if entry["name"] == "ACSO_DIGEST":
                entry["value"] = placeholder
    return _joined(desired.settings, json.dumps(content))


def _joined(settings: str, definition: str) -> str:
    return json.dumps({"service": json.loads(settings), "taskDefinition": json.loads(definition)})


async def current_services(
    context: ReleaseContext, services: Sequence[str]
) -> dict[str, CurrentService]:
    """Read the services of these names; a deleted one counts as absent."""
    found = await ecs.services(context.aws, context.outputs.cluster, services)
    result = {}
    for name in services:
        service = found.get(name)
        if service is None or service.status in GONE:
            result[name] = CurrentService(service=None)
        else:
            definition = await ecs.task_definition(context.aws, service.revision)
            result[name] = CurrentService(service=service, definition=definition)
    return result


async def services_of(
    context: ReleaseContext, earlier: Mapping[str, str]
) -> dict[str, CurrentService]:
    """Read the services of the agents, and those of earlier agents that still exist."""
    mine = agents_of(context.config, context.env)
    found = await current_services(context, list(dict.fromkeys([*mine, *earlier])))
    return {name: state for name, state in found.items() if name in mine or state.service}


async def plan(
    context: ReleaseContext, images: Sequence[Image], earlier: Mapping[str, str] = NO_SERVICES
) -> Plan:
    """Compare every image's service with what runs in the environment; changes nothing.

    Args:
        context: the environment.
        images: one for each agent.
        earlier: the agents of services of earlier releases, by service. Those that still exist, but
            whose agent is not in acso.toml any more, are to be removed.
    """
    names = {
        image.agent: context.env.service(context.config.agent(image.agent)) for image in images
    }
    left = [service for service in earlier if service not in agents_of(context.config, context.env)]
    found = await current_services(context, [*names.values(), *left])
    secrets = context.aws.secrets
    changes = []
    for image in images:
        state = found[names[image.agent]]
        changes.append(compare(desired_service(context, _located(image, state)), state, secrets))
    changes += [removal(earlier[name], name, found[name]) for name in left if found[name].service]
    return Plan(environment=context.env.name, changes=tuple(changes))


def removal(agent: str, service: str, current: CurrentService) -> Change:
    """Return the change that removes a service."""
    return Change(
        agent=agent,
        service=service,
        desired=None,
        current=current,
        action=Action.REMOVE,
        register=False,
        reasons=("not in acso.toml; removed after the release has succeeded",),
    )


def _located(image: Image, current: CurrentService) -> Image:
    """Return an image that is not pushed yet with the reference of the running one, if equal."""
    run = current.run
    if image.reference or run is None or current.definition is None:
        return image
    if run.version != image.version:
        return image
    return replace(image, reference=current.definition.image)


def _versioned(
    current: CurrentService, desired: DesiredService, rolled: tuple[str, ...]
) -> tuple[str, ...]:
    """Return "version A -> B" in place of the three differences that follow from it."""
    run = current.run
    if run is None or run.version == desired.image.version:
        return rolled
    rest = tuple(line for line in rolled if not line.startswith(VERSIONED))
    return (f"version {run.version or 'unknown'} -> {desired.image.version}", *rest)


VERSIONED = ("image ", "environment.ACSO_VERSION ", "environment.ACSO_DIGEST ")
