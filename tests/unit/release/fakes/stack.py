"""An environment's stack in memory: extended before a release, completed after it."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field

from ci.aws.cloudformation import DesiredStack
from ci.aws.session import Aws
from ci.aws.target import Target
from ci.config import Agent, Config
from ci.errors import InfrastructureError
from ci.infra import environment
from ci.infra.phases import extended
from ci.infra.templates import mapped
from ci.release import Say
from tests.unit.release.conftest import ENV, Outputs, Pipeline


@dataclass
class Account:
    """What all processes share: the stack as it is, and what was done with it."""

    stack: DesiredStack | None = None
    history: list[str] = field(default_factory=list)
    refused: str = ""  # what CloudFormation answers to `extend` or `complete`

    @property
    def agents(self) -> dict[str, dict[str, str]]:
        """The agents that have resources, by name."""
        assert self.stack is not None
        return {item["Name"]: item for item in mapped(self.stack.template).values()}

    @property
    def scaled(self) -> tuple[str, ...]:
        """The agents whose services autoscaling changes."""
        assert self.stack is not None
        return tuple(filter(None, self.stack.parameters["Scaled"].split(",")))


@dataclass(frozen=True, kw_only=True)
class FakeStack:
    """The stack as one process, with its acso.toml, sees it."""

    account: Account
    target: Target
    aws: Aws

    def desired(self) -> DesiredStack:
        return environment.desired(self.target)

    async def current(self) -> DesiredStack | None:
        return self.account.stack

    async def extend(self, to: DesiredStack, say: Say, *, back: bool = False) -> Outputs:  # noqa: ARG002
        await self._apply("extend", extended(self.account.stack, to, back=back))
        return outputs(self.account.agents, self.account.scaled)

    async def complete(self, to: DesiredStack, say: Say) -> None:  # noqa: ARG002
        await self._apply("complete", to)

    async def _apply(self, what: str, to: DesiredStack) -> None:
        await self._call()
        if what == self.account.refused:
            raise InfrastructureError("stack acso-staging: no")
        self.account.history.append(what)
        self.account.stack = to
        await self._call()

    async def _call(self) -> None:
        """Call AWS, so that a process may be killed before and after the stack changes."""
        await self.aws.call("ecs", "describe_clusters", clusters=[])


def outputs(agents: Iterable[str], scaled: tuple[str, ...] = ()) -> Outputs:
    """Return the outputs of a stack with these agents."""
    names = list(agents)
    return Outputs(
        scaled=scaled,
        target_groups={name: f"arn/{ENV.prefix}-{name}" for name in names},
        task_roles={name: f"arn:aws:iam::0:role/{name}" for name in names},
    )


def with_stack(
    pipeline: Pipeline, account: Account, config: Config, *agents: Agent, **changes: object
) -> Pipeline:
    """Return a process whose acso.toml has these agents, and whose releases change the stack."""
    context = pipeline.context
    config = dataclasses.replace(config, agents=agents or config.agents)
    env = dataclasses.replace(context.env, **changes)  # type: ignore[arg-type]
    target = Target(aws=Aws(region=ENV.region), config=config, env=env)
    if account.stack is None:
        account.stack = extended(None, environment.desired(target))
    context = dataclasses.replace(
        context,
        config=config,
        env=env,
        outputs=outputs(account.agents, account.scaled),
        infrastructure=FakeStack(account=account, target=target, aws=context.aws),
    )
    return dataclasses.replace(pipeline, context=context, lines=[])
