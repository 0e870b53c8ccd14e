"""The values that all modules of `ci.release` share: images, revisions, requests, the context."""

import datetime
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import anyio

from ci.aws.cloudformation import DesiredStack
from ci.aws.probing import DIRECT, Probe
from ci.aws.target import Target
from ci.config import Agent, Config, Environment

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Notification:
    """A message about a release for the environment's topic and webhook.

    `event` is `started`, `rolling_back` or an `OutcomeKind`.
    """

    environment: str
    release: str
    event: str
    text: str


Notify = Callable[[Notification], None]


def ignore_notification(_: Notification) -> None:
    """Do nothing."""


class Outputs(Protocol):
    """Names, ids and ARNs of an environment's infrastructure (the outputs of its stack)."""

    @property
    def cluster(self) -> str:
        """Name of the ECS cluster."""

    @property
    def subnets(self) -> tuple[str, ...]:
        """Ids of the subnets that tasks run in."""

    @property
    def security_group(self) -> str:
        """Id of the tasks' security group."""

    @property
    def target_groups(self) -> Mapping[str, str]:
        """ARN of each agent's target group, by agent."""

    @property
    def execution_role(self) -> str:
        """ARN of the task execution role: ECS pulls images and writes logs with it."""

    @property
    def task_roles(self) -> Mapping[str, str]:
        """ARN of each agent's task role, by agent."""

    @property
    def log_group(self) -> str:
        """Name of the log group that agents write to."""

    @property
    def scaled(self) -> Collection[str]:
        """The agents whose numbers of tasks autoscaling changes."""

    @property
    def url(self) -> str:
        """Base URL of the load balancer; an agent answers below `/{agent}`."""

    @property
    def releases_table(self) -> str:
        """Name of the table that holds release records and the lock."""

    @property
    def state_table(self) -> str:
        """Name of the table that agents store their state in."""

    @property
    def people_secret(self) -> str:
        """ARN of the secret with the tokens of people who use the agents."""

    @property
    def agents_secret(self) -> str:
        """ARN of the secret with the token with which agents call each other."""

    @property
    def topic(self) -> str:
        """ARN of the SNS topic for alerts and notifications."""


class Report(Protocol):
    """The result of a validation, as far as a release needs it."""

    @property
    def ok(self) -> bool:
        """Whether every check passed."""

    def summary(self) -> str:
        """Return which checks passed and which did not, in a few lines."""


class Infrastructure(Protocol):
    """The environment's stack, as far as a release changes it.

    A release adds what it needs before it changes services, and removes what is not needed any
    more after it has succeeded: until then, both it and its way back find what they need.
    """

    def desired(self) -> DesiredStack:
        """Return the stack as acso.toml defines it."""

    async def current(self) -> DesiredStack | None:
        """Return what the stack was made from; None if it does not exist."""

    async def extend(self, to: DesiredStack, say: Say, *, back: bool = False) -> Outputs:
        """Add what another state (`back`: an earlier one) needs; keep all that there is."""

    async def complete(self, to: DesiredStack, say: Say) -> None:
        """Bring the stack to a state, and remove all that this state does not have."""


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Time and randomness, replaceable in tests.

    `now` is UTC, `monotonic` and `sleep` are seconds, `jitter` is a random number from 0 to 1.
    """

    now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC)
    monotonic: Callable[[], float] = anyio.current_time
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    jitter: Callable[[], float] = random.random


@dataclass(frozen=True, kw_only=True)
class ReleaseContext(Target):
    """A target whose infrastructure exists, with its stack's outputs.

    `probe` sends requests to its load balancer.
    """

    outputs: Outputs
    probe: Probe = DIRECT
    infrastructure: Infrastructure | None = None  # None: releases do not change it
    clock: Clock = field(default_factory=Clock)

    def url(self, agent: str) -> str:
        """Return the URL that an agent answers under, through the load balancer."""
        return f"{self.outputs.url.rstrip('/')}/{agent}"

    def with_agents(self, agents: Iterable[Agent]) -> "ReleaseContext":
        """Return the same environment with the agents of another release."""
        return replace(self, config=replace(self.config, agents=tuple(agents)))


#: Checks an environment, with the agents of the context, once all its services are stable.
Validate = Callable[[ReleaseContext], Awaitable[Report]]


@dataclass(frozen=True, kw_only=True)
class Image:
    """One agent's image: its content version and, once pushed, `HOST/acso-AGENT@sha256:...`."""

    agent: str
    version: str
    reference: str = ""

    @property
    def digest(self) -> str:
        """The `sha256:...` of the reference; empty before the image is pushed."""
        return self.reference.partition("@")[2]


@dataclass(frozen=True, kw_only=True)
class Request:
    """Who asked for a release, and its source.

    `promoted_from` is the environment and release that it was promoted from, such as
    `staging 2026.11.24-3`; empty for images built for this environment.
    """

    commit: str = ""
    branch: str = ""
    actor: str = ""
    dirty: bool = False
    promoted_from: str = ""


@dataclass(frozen=True, kw_only=True)
class ServiceRevision:
    """What one service runs: a task definition's revision (ARN), its version, digest and count.

    `settings` are the other arguments of UpdateService as JSON: load balancer, network, grace
    period, deployment configuration, ECS Exec. Empty in records of earlier versions. If it is
    `scaled`, autoscaling chooses the count, and `desired` is the least.
    """

    revision: str
    version: str
    digest: str
    desired: int
    settings: str = field(default="", compare=False)
    scaled: bool = field(default=False, compare=False)

    @property
    def number(self) -> str:
        """The revision's number within its family."""
        return self.revision.rpartition(":")[2]

    def same_as(self, running: "ServiceRevision | None") -> bool:
        """Return whether a service runs this; the count of a scaled one does not matter."""
        if running is None or not self.scaled:
            return self == running
        return self == replace(running, desired=self.desired)


def agents_of(config: Config, env: Environment) -> dict[str, Agent]:
    """Return the agents by the name of their ECS service in an environment."""
    return {env.service(agent): agent for agent in config.agents}
