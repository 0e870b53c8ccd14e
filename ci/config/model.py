"""The settings as frozen dataclasses, and the AWS names derived from them."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ci.errors import UsageError


def nearest(name: str, names: Sequence[str]) -> str:
    """Return a hint: the most similar name, or all names."""
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"


@dataclass(frozen=True, kw_only=True)
class Project:
    """The settings that are the same for all agents and environments."""

    name: str
    base_image: str
    platform: str = "linux/amd64"  # of the agents' images and tasks
    repository: str | None = None  # owner/name on GitHub, whose workflow may deploy
    owner_id: str | None = None  # numeric ids of both, if its tokens have immutable subjects
    repository_id: str | None = None


def repository_of(agent: str) -> str:
    """Return the name of an agent's ECR repository, also of one that acso.toml does not have."""
    return f"acso-{agent}"


@dataclass(frozen=True, kw_only=True)
class Agent:
    """One service: a package in `agents/` and an entry in acso.toml."""

    name: str
    port: int
    health_path: str
    calls: tuple[str, ...]

    @property
    def package(self) -> str:
        """Name of its Python package below `agents`."""
        return self.name.replace("-", "_")

    @property
    def container(self) -> str:
        """Name of its container in the task definition."""
        return f"{self.name}-agent"

    @property
    def repository(self) -> str:
        """Name of its ECR repository; repositories belong to no environment."""
        return repository_of(self.name)


@dataclass(frozen=True, kw_only=True)
class Size:
    """An agent's size in one environment, where it differs from the environment's."""

    cpu: int | None = None
    memory: int | None = None
    desired_count: int | None = None


@dataclass(frozen=True, kw_only=True)
class Task:
    """The resolved size of an agent in an environment: CPU units, MiB, number of tasks."""

    cpu: int
    memory: int
    desired_count: int


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One environment. Times are seconds, `log_retention` is days."""

    name: str
    region: str
    desired_count: int
    cpu: int
    memory: int
    strategy: str
    failure_threshold: int
    health_interval: int
    health_grace: int
    deploy_timeout: int
    rollback_timeout: int
    validation_timeout: int
    bake_time: int
    keep_releases: int
    keep_revisions: int
    log_retention: int
    ecs_exec: bool
    account: str | None = None
    branch: str | None = None
    event: str | None = None
    promotes_from: str | None = None  # the environment whose validated releases it gets
    agents: Mapping[str, Size] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """Prefix of the environment's resource names; also the name of its stack."""
        return f"acso-{self.name}"

    @property
    def cluster(self) -> str:
        """Name of the ECS cluster."""
        return f"{self.prefix}-cluster"

    @property
    def log_group(self) -> str:
        """Name of the log group that all agents of the environment write to."""
        return f"/aws/acso/{self.name}/agents"

    def service(self, agent: Agent) -> str:
        """Name of an agent's ECS service, and of its task definition family."""
        return f"{self.prefix}-{agent.name}"

    def task(self, agent: Agent) -> Task:
        """Size of an agent's tasks: its own in the environment, otherwise the environment's."""
        own = self.agents.get(agent.name, Size())
        return Task(
            cpu=own.cpu or self.cpu,
            memory=own.memory or self.memory,
            desired_count=self.desired_count if own.desired_count is None else own.desired_count,
        )


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole of acso.toml."""

    project: Project
    agents: tuple[Agent, ...]
    environments: Mapping[str, Environment]

    def agent(self, name: str) -> Agent:
        """Return the agent of this name; raises `UsageError` with the nearest name."""
        for agent in self.agents:
            if agent.name == name:
                return agent
        raise _unknown("agent", name, [agent.name for agent in self.agents])

    def environment(self, name: str) -> Environment:
        """Return the environment of this name; raises `UsageError` with the nearest name."""
        if name not in self.environments:
            raise _unknown("environment", name, list(self.environments))
        return self.environments[name]

    def released_by(self, event: str, ref: str) -> Environment | None:
        """Return the environment that a GitHub event deploys, None if it deploys none.

        Args:
            event: such as push, pull_request or release.
            ref: the full ref, such as refs/heads/main.
        """
        for environment in self.environments.values():
            branch = environment.branch  # None: no push deploys it
            if event == "push" and branch and ref == f"refs/heads/{branch}":
                return environment
            if event == environment.event:
                return environment
        return None

    def waves(self) -> tuple[tuple[Agent, ...], ...]:
        """Return the agents in rollout order: each wave calls only agents of earlier waves."""
        return _waves(self.agents)


def _waves(agents: tuple[Agent, ...]) -> tuple[tuple[Agent, ...], ...]:
    """Return the waves; agents whose calls form a cycle are in none."""
    done: set[str] = set()
    waves = []
    while wave := tuple(
        agent for agent in agents if agent.name not in done and set(agent.calls) <= done
    ):
        waves.append(wave)
        done.update(agent.name for agent in wave)
    return tuple(waves)


def _unknown(kind: str, name: str, names: list[str]) -> UsageError:
    return UsageError(f"unknown {kind} {name!r} ({nearest(name, names)})")
