"""Faults: what makes one, what undoes it, and whether it is undone.

Each can be written as a row and read from it, so that another process can undo it.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from ci import release
from ci.aws import ecs, iam, rules

POLICY = "acso-chaos"
STOPPED = "acso chaos: stopped on purpose"


@dataclass(frozen=True, kw_only=True)
class Fault(ABC):
    """One fault of one agent."""

    kind: ClassVar[str]
    agent: str

    def body(self) -> dict[str, Any]:
        """Return it for a row."""
        return {"kind": self.kind, **asdict(self)}

    @abstractmethod
    async def make(self, context: release.ReleaseContext) -> None:
        """Make the fault; it is on record by then."""

    @abstractmethod
    async def undo(self, context: release.ReleaseContext) -> None:
        """Undo it, also a half of it, and also if it never was."""

    @abstractmethod
    async def left(self, context: release.ReleaseContext) -> str:
        """Return what is left of it; empty if it is undone."""


@dataclass(frozen=True, kw_only=True)
class StoppedTasks(Fault):
    """Tasks stopped by ECS; the service's scheduler replaces them."""

    kind: ClassVar[str] = "stopped-tasks"
    tasks: tuple[str, ...]

    async def make(self, context: release.ReleaseContext) -> None:
        """Stop the tasks."""
        for task in self.tasks:
            await ecs.stop_task(context.aws, context.outputs.cluster, task, reason=STOPPED)

    async def undo(self, context: release.ReleaseContext) -> None:
        """Do nothing: ECS starts others."""

    async def left(self, context: release.ReleaseContext) -> str:
        """Return which task still runs, or how many tasks its service lacks."""
        cluster = context.outputs.cluster
        running = [
            task.id
            for task in await ecs.tasks(context.aws, cluster, self.tasks)
            if task.status != "STOPPED"
        ]
        if running:
            return f"task {running[0]} has not stopped"
        name = context.env.service(context.config.agent(self.agent))
        found = (await ecs.services(context.aws, cluster, [name])).get(name)
        if found is None:
            return f"{self.agent} has no service"
        missing = found.running < found.desired
        return f"{self.agent} has {found.running} of {found.desired} tasks" if missing else ""


@dataclass(frozen=True, kw_only=True)
class DeniedActions(Fault):
    """Actions of AWS that a policy denies to a task's role."""

    kind: ClassVar[str] = "denied-actions"
    role: str
    actions: tuple[str, ...]

    async def make(self, context: release.ReleaseContext) -> None:
        """Add the policy to the role."""
        denied = {"Effect": "Deny", "Action": list(self.actions), "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [denied]})
        await iam.put_policy(context.aws, self.role, POLICY, document)

    async def undo(self, context: release.ReleaseContext) -> None:
        """Remove the policy."""
        await iam.delete_policy(context.aws, self.role, POLICY)

    async def left(self, context: release.ReleaseContext) -> str:
        """Return the policy, if the role still has it."""
        if await iam.has_policy(context.aws, self.role, POLICY):
            return f"the role {self.role} has the policy {POLICY}"
        return ""


@dataclass(frozen=True, kw_only=True)
class UnreachableAgent(Fault):
    """An agent that the load balancer does not reach: a rule before its own answers 503."""

    kind: ClassVar[str] = "unreachable-agent"

    @property
    def text(self) -> str:
        """What the rule answers; it names the rule as one of these."""
        return f"{POLICY}: {self.agent} is cut off on purpose"

    async def make(self, context: release.ReleaseContext) -> None:
        """Add the rule to every listener."""
        for listener in await rules.listeners(context.aws, context.env):
            await rules.answer(context.aws, listener, f"/{self.agent}/*", self.text)

    async def undo(self, context: release.ReleaseContext) -> None:
        """Remove the rules."""
        for rule in await self._rules(context):
            await rules.remove(context.aws, rule)

    async def left(self, context: release.ReleaseContext) -> str:
        """Return how many rules there are."""
        found = await self._rules(context)
        return f"{len(found)} rules of the load balancer answer for {self.agent}" if found else ""

    async def _rules(self, context: release.ReleaseContext) -> list[rules.Rule]:
        return [
            rule
            for listener in await rules.listeners(context.aws, context.env)
            for rule in await rules.answering(context.aws, listener)
            if rule.text == self.text
        ]


KINDS: Mapping[str, type[Fault]] = {
    kind.kind: kind for kind in (StoppedTasks, DeniedActions, UnreachableAgent)
}


def parsed(body: Mapping[str, Any]) -> Fault:
    """Return the fault of a row."""
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in body.items()
    }
    made: Fault = KINDS[fields.pop("kind")](**fields)
    return made
