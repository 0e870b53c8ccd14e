"""What a deploy would change: each service as it is against what is wanted."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from ci.aws import ecs
from ci.release.model import Image, Place, Run
from ci.release.wanted import Wanted, wanted

GONE = ("INACTIVE", "DRAINING")


class Action(StrEnum):
    """What is to be done with one service."""

    CREATE = "create"
    CHANGE = "change"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Current:
    """One service as it is: None where there is no service, or no such revision any more."""

    service: ecs.Service | None
    definition: ecs.TaskDefinition | None = None

    @property
    def run(self) -> Run | None:
        """What the service runs, told by the task definition itself."""
        if self.service is None:
            return None
        given = self.definition.environment if self.definition else {}
        return Run(
            revision=self.service.revision,
            version=given.get("ACSO_VERSION", ""),
            digest=given.get("ACSO_DIGEST", ""),
            desired=self.service.desired,
        )


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a release does with one service, and why; `register` is False if its revision stays."""

    wanted: Wanted
    current: Current
    action: Action
    register: bool
    reasons: tuple[str, ...]

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

    def text(self) -> str:
        """Return the plan for people: a line a service."""
        width = max((len(change.agent) for change in self.changes), default=0)
        lines = [
            f"  {change.agent:<{width}}  {change.action:<6}  {'; '.join(change.reasons)}".rstrip()
            for change in self.changes
        ]
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


def compare(wanted: Wanted, current: Current) -> Change:
    """Return what it takes to bring one service to what is wanted; pure."""
    service = current.service
    if service is None:
        reasons = (f"new service, version {wanted.image.version}",)
        return Change(
            wanted=wanted, current=current, action=Action.CREATE, register=True, reasons=reasons
        )
    content = current.definition.content if current.definition else "{}"
    rolled = tuple(differences(content, wanted.content))
    settings = tuple(differences(service.settings, wanted.settings))
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
    )


def differences(old: str, new: str) -> Iterator[str]:
    """Yield the paths at which two canonical texts differ, with short values old and new."""
    before, after = _flat(json.loads(old)), _flat(json.loads(new))
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path):
            yield _line(_shown(path), before.get(path), after.get(path))


async def current(place: Place, services: Sequence[str]) -> dict[str, Current]:
    """Read what these services are now, deleted ones counted as absent."""
    found = await ecs.services(place.aws, place.outputs.cluster, services)
    result = {}
    for name in services:
        service = found.get(name)
        if service is None or service.status in GONE:
            result[name] = Current(service=None)
        else:
            definition = await ecs.task_definition(place.aws, service.revision)
            result[name] = Current(service=service, definition=definition)
    return result


async def plan(place: Place, images: Sequence[Image]) -> Plan:
    """Compare every image's service with what runs in this place; nothing is touched."""
    names = {image.agent: place.env.service(place.config.agent(image.agent)) for image in images}
    found = await current(place, list(names.values()))
    changes = []
    for image in images:
        state = found[names[image.agent]]
        changes.append(compare(wanted(place, _located(image, state)), state))
    return Plan(environment=place.env.name, changes=tuple(changes))


def _located(image: Image, current: Current) -> Image:
    """Return an image that is not pushed yet with the reference of the same version, if it runs."""
    run = current.run
    if image.reference or run is None or current.definition is None:
        return image
    if run.version != image.version:
        return image
    return replace(image, reference=current.definition.image)


def _versioned(current: Current, wanted: Wanted, rolled: tuple[str, ...]) -> tuple[str, ...]:
    """Say "version A -> B" instead of the three paths that follow from it."""
    run = current.run
    if run is None or run.version == wanted.image.version:
        return rolled
    rest = tuple(line for line in rolled if not line.startswith(VERSIONED))
    return (f"version {run.version or 'unknown'} -> {wanted.image.version}", *rest)


VERSIONED = ("image ", "environment.ACSO_VERSION ", "environment.ACSO_DIGEST ")
NOISE = re.compile(r"^containerDefinitions\.[^.]+\.|\.value$")


def _shown(path: str) -> str:
    """Return a path without what is the same for every agent."""
    return NOISE.sub("", path)


def _line(path: str, old: object, new: object) -> str:
    if old is None:
        return f"{path} added"
    if new is None:
        return f"{path} removed"
    return f"{path} {_short(old)} -> {_short(new)}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:39] + "…"


def _flat(value: Any, path: str = "") -> dict[str, object]:
    """Return a document's leaves by path; list items by their name where they have one."""
    items: list[tuple[str, Any]]
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list):
        items = [(_name(item, number), item) for number, item in enumerate(value)]
    else:
        return {path: value}
    found: dict[str, object] = {}
    for key, item in items:
        found |= _flat(item, f"{path}.{key}" if path else key)
    return {key: item for key, item in found.items() if not key.endswith(".name")}


def _name(item: Any, number: int) -> str:
    return str(item["name"]) if isinstance(item, Mapping) and "name" in item else str(number)
