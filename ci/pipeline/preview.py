"""What a deploy would change, from images to infrastructure, and whether that still holds."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ci import infra, release
from ci.aws.session import Aws
from ci.config import Config, Environment
from ci.errors import UsageError
from ci.pipeline import environments, images
from ci.release import Facts
from ci.release.plan import saved
from ci.stages.build import Built

FORMAT = 1  # of the promise in a plan's document; another one is refused
NOTHING, CHANGES = 0, 2  # exit codes, as `terraform plan -detailed-exitcode` has them


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What a plan saw, what it stands on, and what it would bring."""

    environment: str
    seen: Facts
    stands: Facts
    brings: Facts

    def data(self) -> dict[str, Any]:
        """Return the promise for a plan's document."""
        return {"format": FORMAT, **dataclasses.asdict(self)}


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a deploy would change: services (None: all made anew), and what they stand on."""

    services: release.Plan | None
    resources: Sequence[infra.ResourceChange]
    promise: Promise

    @property
    def changed(self) -> bool:
        """Whether a deploy would change anything."""
        return self.services is None or self.services.changed or bool(self.resources)

    @property
    def exit_code(self) -> int:
        """The exit code of `plan`."""
        return CHANGES if self.changed else NOTHING

    def text(self) -> str:
        """Return it for people."""
        lines = [f"  {change}" for change in self.resources]
        head = f"{len(lines)} resources would change" if lines else "no resource would change"
        services = self.services.text() if self.services else "every service would be created"
        return "\n".join([head, *lines, services])

    def data(self) -> dict[str, Any]:
        """Return it for machines, and for `deploy --plan`."""
        services = self.services.data() if self.services else {"services": []}
        return {
            **services,
            "environment": self.promise.environment,
            "changed": self.changed,
            "resources": [dataclasses.asdict(change) for change in self.resources],
            "promise": self.promise.data(),
        }


async def preview(
    aws: Aws, config: Config, environment: Environment, built: Sequence[Built]
) -> Preview:
    """Return what a deploy of these images would change; nothing that lasts is touched."""
    resources = await infra.preview(aws, config, environment)
    services, made = await _promised(aws, config, environment, built)
    return Preview(services=services, resources=resources, promise=made)


async def hold_standing(kept: Promise, aws: Aws, config: Config, environment: Environment) -> None:
    """Hold a plan against the environment alone: what can be told before anything is built.

    Raises `PlanOutdatedError` if the environment has moved.
    """
    place = await environments.found(aws, config, environment)
    seen = saved.nothing_seen(config, environment)
    if place:
        names = [environment.service(agent) for agent in config.agents]
        seen = await saved.look(place, await release.current(place, names))
    standing = await infra.standing(aws, config, environment)
    _hold(kept, await _stands(aws, standing), seen)


async def hold(
    kept: Promise, aws: Aws, config: Config, environment: Environment, built: Sequence[Built]
) -> None:
    """Hold a plan against what is now and what was built.

    Raises `PlanOutdatedError` if the environment has moved, or the source is not what was planned.
    """
    _, now = await _promised(aws, config, environment, built)
    saved.hold(environment.name, kept.brings, now.brings, what="the source")
    _hold(kept, now.stands, now.seen)


def parse(text: str, environment: str) -> Promise:
    """Return the promise in a plan's document; raises `UsageError` on what is none of this place.

    Both what `--output` writes and what `--json` prints will do.
    """
    hint = f"make one: ./acso plan --env {environment} --output plan.json"
    try:
        document = json.loads(text)
        fields = dict(document.get("result", document)["promise"])
        version = fields.pop("format")
        kept = Promise(**fields)
    except (ValueError, KeyError, TypeError, AttributeError):
        message = "the file of --plan is no plan"
        raise UsageError(message, hint=hint) from None
    if version != FORMAT or not all(map(_is_facts, (kept.seen, kept.stands, kept.brings))):
        message = f"the plan is of another version of acso (format {version}, not {FORMAT})"
        raise UsageError(message, hint=hint)
    if kept.environment != environment:
        message = f"the plan is of {kept.environment}, not of {environment}"
        raise UsageError(message, hint=hint)
    return kept


async def _promised(
    aws: Aws, config: Config, environment: Environment, built: Sequence[Built]
) -> tuple[release.Plan | None, Promise]:
    standing = await infra.standing(aws, config, environment)
    place = await environments.found(aws, config, environment)
    known = [await images.found(aws, config, item) for item in built]
    services, seen = None, saved.nothing_seen(config, environment)
    if place:
        services = await release.plan(place, known)
        seen = await saved.look(place, services.found)
    return services, Promise(
        environment=environment.name,
        seen=seen,
        stands=await _stands(aws, standing),
        brings={**saved.brings(known, services), **standing.wanted},
    )


async def _stands(aws: Aws, standing: infra.Standing) -> Facts:
    return {"account": f"{await aws.account()} in {aws.region}", **standing.found}


def _hold(kept: Promise, stands: Facts, seen: Facts) -> None:
    saved.hold(kept.environment, {**kept.stands, **kept.seen}, {**stands, **seen})


def _is_facts(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(item, str) for item in value.values())
