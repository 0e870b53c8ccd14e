"""What a deploy would change, and whether a saved plan is still current."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ci import infra, release
from ci.aws.session import Aws
from ci.aws.target import Target
from ci.errors import UsageError
from ci.pipeline import environments, images
from ci.release import Facts
from ci.release.plan import saved
from ci.stages.build import Built

FORMAT = 2  # of a saved plan; files of another format are refused
NOTHING, CHANGES = 0, 2  # exit codes, as `terraform plan -detailed-exitcode` has them


@dataclass(frozen=True, kw_only=True)
class SavedPlan:
    """The state that a plan was made from, and the state that it leads to; each as short texts.

    `services` and `infrastructure` are what was found, `result` is what a deploy would bring.
    """

    environment: str
    services: Facts
    infrastructure: Facts
    result: Facts

    @property
    def found(self) -> Facts:
        """All that was found when the plan was made."""
        return {**self.infrastructure, **self.services}

    def data(self) -> dict[str, Any]:
        """Return it as a plan's document holds it."""
        return {"format": FORMAT, **dataclasses.asdict(self)}


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a deploy would change: resources, and services (None: all would be created)."""

    services: release.Plan | None
    resources: Sequence[infra.ResourceChange]
    saved: SavedPlan

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
        return "\n".join([head, *lines, *self._administrator(), services, *self._noticed()])

    def _administrator(self) -> list[str]:
        """Say who may change the resources."""
        if not self.resources:
            return []
        env = self.saved.environment
        return [
            "  these need an administrator: CI's role may not change infrastructure, so its deploy "
            f"fails until they are applied (./acso bootstrap --env {env})"
        ]

    def _noticed(self) -> list[str]:
        """Say what running services notice of the changes; nothing if none runs."""
        changes = (
            [item for item in self.services.changes if item.current.service]
            if (self.services)
            else []
        )
        if not changes:
            return []
        replaced = [item.agent for item in changes if item.register]
        moved = [
            item.agent
            for item in changes
            if item.action is release.Action.CHANGE and not item.register
        ]
        lines = [
            f"{text}: {', '.join(names)}"
            for text, names in (
                ("tasks replaced by a rolling update", replaced),
                ("updated without new tasks", moved),
            )
            if names
        ]
        return lines or ["no running service notices"] * self.changed

    def data(self) -> dict[str, Any]:
        """Return it for machines, and for `deploy --plan`."""
        services = self.services.data() if self.services else {"services": []}
        return {
            **services,
            "environment": self.saved.environment,
            "changed": self.changed,
            "resources": [dataclasses.asdict(change) for change in self.resources],
            "administrator": bool(self.resources),
            "saved": self.saved.data(),
        }


async def preview(target: Target, built: Sequence[Built]) -> Preview:
    """Return what a deploy of these images would change; changes nothing that lasts."""
    resources = await infra.preview(target)
    services, now = await _plan(target, built)
    return Preview(services=services, resources=resources, saved=now)


async def require_same_environment(plan: SavedPlan, target: Target) -> None:
    """Compare a saved plan with the environment: what can be known before anything is built.

    Raises:
        PlanOutdatedError: the environment has changed since the plan was made.
    """
    environment = target.env
    context = await environments.find(target)
    services = saved.nothing_deployed(target.config, environment)
    if context:
        services = await saved.read_facts(context)
    stacks = await infra.stack_facts(target)
    found = {**await _infrastructure(target.aws, stacks), **services}
    saved.require_same(plan.environment, plan.found, found)


async def require_current(plan: SavedPlan, target: Target, built: Sequence[Built]) -> None:
    """Compare a saved plan with the environment and with what was built from the source.

    Raises:
        PlanOutdatedError: the environment has changed since the plan was made, or the source is
            not the one that was planned.
    """
    _, now = await _plan(target, built)
    saved.require_same(plan.environment, plan.result, now.result, what="the source")
    saved.require_same(plan.environment, plan.found, now.found)


def parse(text: str, environment: str) -> SavedPlan:
    """Return the saved plan in a document of `plan`, as `--output` writes it or `--json` prints it.

    Raises:
        UsageError: the text is no plan, or one of another environment or version of acso.
    """
    hint = f"make one: ./acso plan --env {environment} --output plan.json"
    try:
        document = json.loads(text)
        document = document.get("result", document)
        fields = dict(document["saved"])
        version = fields.pop("format")
        plan = SavedPlan(**fields)
        facts = (plan.services, plan.infrastructure, plan.result)
    except (ValueError, KeyError, TypeError, AttributeError):
        message = "the file given with --plan is not a plan of this version of acso"
        raise UsageError(message, hint=hint) from None
    if version != FORMAT or not all(map(_is_facts, facts)):
        message = f"the plan was made by another version of acso (format {version}, not {FORMAT})"
        raise UsageError(message, hint=hint)
    if plan.environment != environment:
        message = f"the plan was made for {plan.environment}, not for {environment}"
        raise UsageError(message, hint=hint)
    return plan


async def _plan(target: Target, built: Sequence[Built]) -> tuple[release.Plan | None, SavedPlan]:
    environment = target.env
    stacks = await infra.stack_facts(target)
    context = await environments.find_to_plan(target)
    known = [await images.find(target, item) for item in built]
    plan, services = None, saved.nothing_deployed(target.config, environment)
    if context:
        services = await saved.read_facts(context)
        plan = await release.plan(context, known, await saved.earlier_services(context))
    return plan, SavedPlan(
        environment=environment.name,
        services=services,
        infrastructure=await _infrastructure(target.aws, stacks),
        result={**saved.result_facts(known, plan), **stacks.desired},
    )


async def _infrastructure(aws: Aws, stacks: infra.StackFacts) -> Facts:
    return {"account": f"{await aws.account()} in {aws.region}", **stacks.current}


def _is_facts(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(item, str) for item in value.values())
