"""Saved plans: `deploy --plan` starts only if the environment is still as the plan found it.

A plan stores what it found as named short texts, not as one checksum, so that an outdated plan
can list what has changed.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence

from ci.config import Config, Environment
from ci.errors import PlanOutdatedError
from ci.release.model import Image, ReleaseContext
from ci.release.plan.changes import CurrentService, Plan, services_of
from ci.release.plan.desired import DesiredService
from ci.release.plan.diff import sides
from ci.release.records import table
from ci.release.records.release import History

#: Short texts by name: releases, services and stacks as found, agents as they would be.
Facts = Mapping[str, str]
ABSENT = "absent"
REMOVED = "removed"
NO_RELEASE = "none"


async def read_facts(context: ReleaseContext) -> Facts:
    """Return the state that a release would start from."""
    history = await table.history(context)
    return facts_of(await services_of(context, history.services), history)


async def earlier_services(context: ReleaseContext) -> Mapping[str, str]:
    """Return the agents of the services of all releases on record, by service."""
    return (await table.history(context)).services


def facts_of(services: Mapping[str, CurrentService], history: History) -> Facts:
    """Return the state that a release would start from: last release, unfinished ones, services."""
    return {
        "last validated release": history.current.id if history.current else NO_RELEASE,
        "unfinished releases": ", ".join(r.id for r in history.unfinished) or NO_RELEASE,
        **{f"service {name}": _service(found, history) for name, found in services.items()},
    }


def nothing_deployed(config: Config, environment: Environment) -> Facts:
    """Return the state that a release starts from where no infrastructure exists."""
    services = {f"service {environment.service(agent)}": ABSENT for agent in config.agents}
    return {"last validated release": NO_RELEASE, "unfinished releases": NO_RELEASE, **services}


def result_facts(images: Sequence[Image], plan: Plan | None) -> Facts:
    """Return what a release would lead to: each agent's version, and its settings if known.

    Secrets in the settings are masked first: a plan's file is passed around, and a short secret can
    be guessed from its checksum.
    """
    found = {f"version of {image.agent}": image.version for image in images}
    for change in plan.changes if plan else ():
        settings = _checksum(_without_digest(change.desired)) if change.desired else REMOVED
        found[f"settings of {change.agent}"] = settings
    return found


def differences(expected: Facts, now: Facts) -> list[str]:
    """Return a line for each fact that differs."""
    names = [*expected, *(name for name in now if name not in expected)]
    return [
        f"{name}: {expected.get(name, ABSENT)} -> {now.get(name, ABSENT)}"
        for name in names
        if expected.get(name) != now.get(name)
    ]


def require_same(
    environment: str, expected: Facts, now: Facts, *, what: str = "the environment"
) -> None:
    """Raise `PlanOutdatedError`, with every difference, unless the facts are the same.

    Args:
        environment: its name, for the hint.
        expected: the facts in the saved plan.
        now: the facts now.
        what: what the facts are about, for the message.
    """
    lines = differences(expected, now)
    if lines:
        message = "\n".join(
            [f"the plan is outdated: {what} has changed since:", *(f"  {line}" for line in lines)]
        )
        hint = f"nothing was changed; make a new plan: ./acso plan --env {environment}"
        raise PlanOutdatedError(message, hint=hint)


def _service(found: CurrentService, history: History) -> str:
    service = found.service
    if service is None:
        return ABSENT
    primary, settings = service.primary, json.loads(service.settings)
    known = history.current.after.get(service.name) if history.current else None
    scaled = known is not None and known.scaled  # its count changes without a release
    if scaled:
        settings.pop("desiredCount", None)
    parts = [
        service.revision.rpartition("/")[2],
        "scaled" if scaled else f"{service.desired} tasks",
        f"settings {_checksum(json.dumps(settings, indent=2, sort_keys=True))}",
        f"deployment {primary.state}" if primary and primary.state not in ("", "COMPLETED") else "",
    ]
    return ", ".join(part for part in parts if part)


def _without_digest(desired: DesiredService) -> str:
    """Return a service's desired settings without the image: its digest is known after the push."""
    document = json.loads(desired.content)
    for container in document["containerDefinitions"]:
        container.pop("image", None)
        entries = container.get("environment", [])
        container["environment"] = [item for item in entries if item["name"] != "ACSO_DIGEST"]
    shown = sides("{}", json.dumps(document)).new
    return json.dumps([shown, desired.settings], sort_keys=True)


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
