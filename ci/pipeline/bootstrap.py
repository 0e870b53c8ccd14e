"""What an administrator applies before CI can deploy, what it costs, and what CI may do then."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ci import infra
from ci.aws.target import Target
from ci.infra.costs import DATE, REGION, Cost, costs
from ci.infra.trust import DEPLOY, PROMOTE, role, subjects
from ci.report.progress import stage


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """The resources to apply, the fixed costs of all of them, and whom CI's roles trust."""

    environment: str
    account: str
    resources: Sequence[infra.ResourceChange]
    costs: Sequence[Cost]
    roles: Sequence[tuple[str, tuple[str, ...]]]  # each with the subjects that it trusts

    def text(self) -> str:
        """Return it for people."""
        return "\n".join([*self._resources(), *self._costs(), *self._roles(), *self._next()])

    def data(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "environment": self.environment,
            "account": self.account,
            "resources": [dataclasses.asdict(item) for item in self.resources],
            "costs": [dataclasses.asdict(item) for item in self.costs],
            "prices": {"region": REGION, "date": DATE},
            "roles": {name: list(trusted) for name, trusted in self.roles},
        }

    def _resources(self) -> list[str]:
        if not self.resources:
            return [f"{self.environment} in {self.account}: nothing is left to apply"]
        head = f"an administrator applies to {self.environment} in {self.account}:"
        return [head, *(f"  {change}" for change in self.resources)]

    def _costs(self) -> list[str]:
        width = max(len(item.what) for item in self.costs)
        lines = [
            f"  {item.count:>4} x {item.what:<{width}}  {item.dollars:>9.2f}" for item in self.costs
        ]
        total = sum(item.dollars for item in self.costs)
        return [
            f"fixed costs, US dollars a month (prices of {REGION}, {DATE}):",
            *lines,
            f"  {'in all':<{width + 7}}  {total:>9.2f}",
            "  more by use: traffic, requests, logs, metrics, models, tables, images",
        ]

    def _roles(self) -> list[str]:
        lines = []
        for name, trusted in self.roles:
            if trusted:
                lines += [f"afterwards CI may assume {name}, for:"]
                lines += [f"  {subject}" for subject in trusted]
        if not lines:
            return ["CI may do nothing: acso.toml has no repository, or no branch or event"]
        return [
            *lines,
            "  it pushes images, registers revisions, updates services and writes records; it",
            "  computes changes of the infrastructure, but makes none (docs/permissions.md)",
        ]

    def _next(self) -> list[str]:
        if not self.resources:
            return []
        return [
            f"next: ./acso deploy --env {self.environment}, with an administrator's credentials"
        ]


async def bootstrap(target: Target) -> Bootstrap:
    """Return what is to be applied to an environment; changes nothing that lasts."""
    config, env = target.config, target.env
    async with stage("infrastructure") as span:
        resources = await infra.preview(target)
        span.result = f"{len(resources)} changes"
    return Bootstrap(
        environment=env.name,
        account=f"{await target.aws.account()} ({target.aws.region})",
        resources=resources,
        costs=costs(config, env),
        roles=[(role(env, kind), subjects(config, env, kind)) for kind in (DEPLOY, PROMOTE)],
    )
