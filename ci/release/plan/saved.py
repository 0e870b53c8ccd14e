"""A plan as a promise: a deploy of it begins only while all is as the plan saw it.

What was seen is kept as short texts under names that people know, not as one checksum, so that a
refusal can say what has moved.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence

from ci.config import Config, Environment
from ci.errors import PlanOutdatedError
from ci.release.model import Image, Place
from ci.release.plan.changes import Change, Current, Plan
from ci.release.plan.diff import sides
from ci.release.records import table
from ci.release.records.release import History

#: What stands under each name: release and services as seen, agents as they would be.
Facts = Mapping[str, str]
ABSENT = "absent"
NO_RELEASE = "none"


async def look(place: Place, services: Mapping[str, Current]) -> Facts:
    """Return what a release would start from, with the releases on record."""
    return seen(services, await table.history(place))


def seen(services: Mapping[str, Current], history: History) -> Facts:
    """Return what a release would start from: the last one, unfinished ones, each service; pure."""
    return {
        "last validated release": history.current.id if history.current else NO_RELEASE,
        "unfinished releases": ", ".join(r.id for r in history.unfinished) or NO_RELEASE,
        **{f"service {name}": _service(found) for name, found in services.items()},
    }


def nothing_seen(config: Config, environment: Environment) -> Facts:
    """Return what a release starts from where no infrastructure stands; pure."""
    services = {f"service {environment.service(agent)}": ABSENT for agent in config.agents}
    return {"last validated release": NO_RELEASE, "unfinished releases": NO_RELEASE, **services}


def brings(images: Sequence[Image], plan: Plan | None) -> Facts:
    """Return what a release would bring: each agent's version, and its settings once known; pure.

    Settings go in masked: a plan's file travels, and a checksum of a short secret tells it.
    """
    found = {f"version of {image.agent}": image.version for image in images}
    for change in plan.changes if plan else ():
        found[f"settings of {change.agent}"] = _checksum(_without_digest(change))
    return found


def moved(promised: Facts, now: Facts) -> list[str]:
    """Return what is no longer as promised, a line each; pure."""
    names = [*promised, *(name for name in now if name not in promised)]
    return [
        f"{name}: {promised.get(name, ABSENT)} -> {now.get(name, ABSENT)}"
        for name in names
        if promised.get(name) != now.get(name)
    ]


def hold(environment: str, promised: Facts, now: Facts, *, what: str = "the environment") -> None:
    """Raise `PlanOutdatedError` unless all is as promised.

    Args:
        environment: its name.
        promised: what the plan has.
        now: what is found.
        what: whose facts they are, for the message.
    """
    lines = moved(promised, now)
    if lines:
        message = "\n".join([f"{what} is not as it was planned:", *(f"  {line}" for line in lines)])
        hint = f"nothing was changed; plan again: ./acso plan --env {environment}"
        raise PlanOutdatedError(message, hint=hint)


def _service(found: Current) -> str:
    service = found.service
    if service is None:
        return ABSENT
    primary = service.primary
    parts = [
        service.revision.rpartition("/")[2],
        f"{service.desired} tasks",
        f"settings {_checksum(service.settings)}",
        f"deployment {primary.state}" if primary and primary.state not in ("", "COMPLETED") else "",
    ]
    return ", ".join(part for part in parts if part)


def _without_digest(change: Change) -> str:
    """Return what a service is to be, but for what an image is called once it is pushed."""
    document = json.loads(change.wanted.content)
    for container in document["containerDefinitions"]:
        container.pop("image", None)
        entries = container.get("environment", [])
        container["environment"] = [item for item in entries if item["name"] != "ACSO_DIGEST"]
    shown = sides("{}", json.dumps(document)).new
    return json.dumps([shown, change.wanted.settings], sort_keys=True)


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
