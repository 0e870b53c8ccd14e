"""What a deploy would change: each service as it is against what is wanted."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from ci.aws import ecs
from ci.release.model import Image, ReleaseContext, ServiceRevision
from ci.release.plan.desired import Wanted, wanted
from ci.release.plan.diff import sides

GONE = ("INACTIVE", "DRAINING")


class Action(StrEnum):
    """What is to be done with one service."""

    CREATE = "create"
    CHANGE = "change"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class CurrentService:
    """One service as it is: None where there is no service, or no such revision any more."""

    service: ecs.Service | None
    definition: ecs.TaskDefinition | None = None

    @property
    def run(self) -> ServiceRevision | None:
        """What the service runs, told by the task definition itself."""
        if self.service is None:
            return None
        given = self.definition.environment if self.definition else {}
        return ServiceRevision(
            revision=self.service.revision,
            version=given.get("ACSO_VERSION", ""),
            digest=given.get("ACSO_DIGEST", ""),
            desired=self.service.desired,
        )


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a release does with one service, and why; `register` is False if its revision stays.

    `diff` is a unified diff of the service's settings and task definition, secrets masked.
    """

    wanted: Wanted
    current: CurrentService
    action: Action
    register: bool
    reasons: tuple[str, ...]
    diff: tuple[str, ...] = ()

    @property
    def agent(self) -> str:
        """Name of the agent."""
        return self.wanted.agent.name

    def data(self) -> dict[str, Any]:
        """Return the change for machines."""
        run = self.current.run
        return {
            "agent": self.agent,
            "service": self.wanted.service,
            "action": str(self.action),
            "reasons": list(self.reasons),
            "diff": list(self.diff),
            "revision": run.revision if run else None,
            "version": {"from": run.version if run else None, "to": self.wanted.image.version},
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
        """What every service was when it was compared, by the service's name."""
        return {change.wanted.service: change.current for change in self.changes}

    def text(self) -> str:
        """Return the plan for people: a line a service, and below it what differs."""
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


def compare(wanted: Wanted, current: CurrentService, secrets: Sequence[str] = ()) -> Change:
    """Return what it takes to bring one service to what is wanted; pure.

    Args:
        wanted: the service as it should be.
        current: the service as it is.
        secrets: what must not be in the reasons or the diff, besides what looks like a secret.
    """
    service = current.service
    diff = sides(_document(current), _shown(wanted), secrets).unified()
    if service is None:
        return Change(
            wanted=wanted,
            current=current,
            action=Action.CREATE,
            register=True,
            reasons=(f"new service, version {wanted.image.version}",),
            diff=diff,
        )
    content = current.definition.content if current.definition else "{}"
    rolled = tuple(sides(content, wanted.content, secrets).paths())
    settings = tuple(sides(service.settings, wanted.settings, secrets).paths())
    failed = service.primary is not None and service.primary.state == "FAILED"
    stuck = ("its last deployment failed",) if failed and not rolled else ()
    changed = bool(rolled or settings or stuck)
    return Change(
        wanted=wanted,
        current=current,
        action=Action.CHANGE if changed else Action.NONE,
        # A deployment that failed starts anew with a revision of its own: its tasks are then told
        # from those that failed before.
        register=bool(rolled or stuck),
        reasons=_versioned(current, wanted, rolled) + settings + stuck,
        diff=diff,
    )


def _document(current: CurrentService) -> str:
    """Return a service as it is in one text: its settings and its task definition."""
    if current.service is None:
        return "{}"
    definition = current.definition.content if current.definition else "{}"
    return _joined(current.service.settings, definition)


def _shown(wanted: Wanted) -> str:
    """Return a service as it should be in one text; what an image is called once pushed is open."""
    if wanted.image.reference:
        return _joined(wanted.settings, wanted.content)
    open_ = f"(version {wanted.image.version}, not pushed yet)"
    content = json.loads(wanted.content)
    for container in content["containerDefinitions"]:
        container["image"] = open_
        for entry in container.get("environment", ()):
            if entry["name"] == "ACSO_DIGEST":
                entry["value"] = open_
    return _joined(wanted.settings, json.dumps(content))


def _joined(settings: str, definition: str) -> str:
    return json.dumps({"service": json.loads(settings), "taskDefinition": json.loads(definition)})


async def current_services(
    context: ReleaseContext, services: Sequence[str]
) -> dict[str, CurrentService]:
    """Read what these services are now, deleted ones counted as absent."""
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


async def plan(context: ReleaseContext, images: Sequence[Image]) -> Plan:
    """Compare every image's service with what runs in this place; nothing is touched."""
    names = {
        image.agent: context.environment.service(context.config.agent(image.agent))
        for image in images
    }
    found = await current_services(context, list(names.values()))
    secrets = context.aws.secrets
    changes = []
    for image in images:
        state = found[names[image.agent]]
        changes.append(compare(wanted(context, _located(image, state)), state, secrets))
    return Plan(environment=context.environment.name, changes=tuple(changes))


def _located(image: Image, current: CurrentService) -> Image:
    """Return an image that is not pushed yet with the reference of the same version, if it runs."""
    run = current.run
    if image.reference or run is None or current.definition is None:
        return image
    if run.version != image.version:
        return image
    return replace(image, reference=current.definition.image)


def _versioned(current: CurrentService, wanted: Wanted, rolled: tuple[str, ...]) -> tuple[str, ...]:
    """Say "version A -> B" instead of the three paths that follow from it."""
    run = current.run
    if run is None or run.version == wanted.image.version:
        return rolled
    rest = tuple(line for line in rolled if not line.startswith(VERSIONED))
    return (f"version {run.version or 'unknown'} -> {wanted.image.version}", *rest)


VERSIONED = ("image ", "environment.ACSO_VERSION ", "environment.ACSO_DIGEST ")
