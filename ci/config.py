"""acso.toml as frozen values: the agents, the environments, and every name made of them.

A wrong file is one `ConfigError` line: the file, the key and, for an unknown key, the nearest
name that exists.
"""

import dataclasses
import re
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from ci.config_reading import BadKeyError, build, field_names, known, nearest, table
from ci.errors import ConfigError, UsageError

FILE = "acso.toml"
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

#: Memory (MiB) that Fargate offers for each CPU size, as "smallest, largest, step".
#: Source: Amazon ECS Developer Guide, "Fargate task CPU and memory".
FARGATE: Mapping[int, tuple[int, int, int]] = MappingProxyType(
    {
        256: (512, 2048, 512),
        512: (1024, 4096, 1024),
        1024: (2048, 8192, 1024),
        2048: (4096, 16384, 1024),
        4096: (8192, 30720, 1024),
        8192: (16384, 61440, 4096),
        16384: (32768, 122880, 8192),
    }
)
STRATEGIES = ("rolling",)
#: Platforms of images, with the CPU architecture that ECS calls them by in a task definition.
PLATFORMS: Mapping[str, str] = MappingProxyType({"linux/amd64": "X86_64", "linux/arm64": "ARM64"})
#: Least values of an environment's numbers, where it is not 1. (A service of no task could not
#: be validated; a rollback needs two releases.)
LEAST = MappingProxyType({"bake_time": 0, "keep_releases": 2})
#: The events beside pushes that release to an environment.
EVENTS = ("release",)
REPOSITORY = r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+"


@dataclass(frozen=True, kw_only=True)
class Project:
    """What holds for everything."""

    name: str
    base_image: str
    platform: str = "linux/amd64"  # of the agents' images and tasks
    repository: str | None = None  # owner/name on GitHub, whose workflow may deploy
    owner_id: str | None = None  # numeric ids of both, if its tokens have immutable subjects
    repository_id: str | None = None


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
        return f"acso-{self.name}"


@dataclass(frozen=True, kw_only=True)
class Size:
    """What an environment gives one agent, where it differs from the environment's own."""

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
    """One place the agents run in. Times are seconds, retention is days."""

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
        """First part of the environment's names; also its stack's name."""
        return f"acso-{self.name}"

    @property
    def cluster(self) -> str:
        """Name of the ECS cluster."""
        return f"{self.prefix}-cluster"

    @property
    def log_group(self) -> str:
        """Log group that all agents of the environment write to."""
        return f"/aws/acso/{self.name}/agents"

    def service(self, agent: Agent) -> str:
        """Name of an agent's ECS service, and of its task definition family."""
        return f"{self.prefix}-{agent.name}"

    def task(self, agent: Agent) -> Task:
        """Size of an agent's tasks here: its own entry below the environment, else the latter's."""
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
        """Return the agent of this name; raises `UsageError` with the nearest one."""
        for agent in self.agents:
            if agent.name == name:
                return agent
        raise _unknown("agent", name, [agent.name for agent in self.agents])

    def environment(self, name: str) -> Environment:
        """Return the environment of this name; raises `UsageError` with the nearest one."""
        if name not in self.environments:
            raise _unknown("environment", name, list(self.environments))
        return self.environments[name]

    def released_by(self, event: str, ref: str) -> Environment | None:
        """Return the environment that an event of the repository deploys, None if it deploys none.

        Args:
            event: GitHub's name of it: push, pull_request, release.
            ref: the full ref, such as refs/heads/main.
        """
        for environment in self.environments.values():
            if event == "push" and ref == f"refs/heads/{environment.branch}":
                return environment
            if event == environment.event:
                return environment
        return None

    def waves(self) -> tuple[tuple[Agent, ...], ...]:
        """Return the agents in rollout order: each wave calls only agents of earlier ones."""
        return _waves(self.agents)


def load(path: Path) -> Config:
    """Read acso.toml from its path; raises `ConfigError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        message = f"{path}: {error.strerror}"
        raise ConfigError(message, hint="run from a checkout of the repository") from error
    except UnicodeDecodeError as error:
        message = f"{path}: not UTF-8 at byte {error.start}"
        raise ConfigError(message) from error
    return parse(text, file=str(path))


def parse(text: str, *, file: str = FILE) -> Config:
    """Turn the text of acso.toml into a `Config`; raises `ConfigError` naming file and key."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = f"{file}: {error}"
        raise ConfigError(message) from error
    try:
        return _config(data)
    except BadKeyError as error:
        message = f"{file}: {error}"
        raise ConfigError(message) from None


def _config(data: dict[str, typing.Any]) -> Config:
    known("", data, {"project", "defaults", "agents", "environments"})
    defaults = table(data, "defaults")
    known("defaults", defaults, {"agent", "environment"})
    agent_defaults = table(defaults, "agent", "defaults.")
    environment_defaults = table(defaults, "environment", "defaults.")
    # Checked by themselves too: an unknown key here must not be reported against each user of it.
    known("defaults.agent", agent_defaults, field_names(Agent) - {"name"})
    known("defaults.environment", environment_defaults, field_names(Environment) - {"name"})
    agents = tuple(
        build(Agent, f"agents.{name}", agent_defaults | _named(data, "agents", name))
        for name in table(data, "agents")
    )
    environments = {
        name: build(
            Environment,
            f"environments.{name}",
            environment_defaults | _named(data, "environments", name),
        )
        for name in table(data, "environments")
    }
    config = Config(
        project=build(Project, "project", table(data, "project")),
        agents=agents,
        environments=MappingProxyType(environments),
    )
    _check(config)
    return config


def _named(data: dict[str, typing.Any], group: str, name: str) -> dict[str, typing.Any]:
    if not NAME.fullmatch(name):
        raise BadKeyError(f"{group}.{name}", "names are lower-case words joined by '-'")
    return {**table(data[group], name, f"{group}."), "name": name}


def _check(config: Config) -> None:
    """Raise on values that have the right type and cannot be right."""
    if config.project.platform not in PLATFORMS:
        raise BadKeyError("project.platform", f"must be one of {', '.join(PLATFORMS)}")
    _check_repository(config.project)
    names = {agent.name for agent in config.agents}
    if len({name.replace("-", "") for name in names}) < len(names):
        raise BadKeyError(
            "agents", "two names differ in hyphens alone, which AWS cannot tell apart"
        )
    for agent in config.agents:
        if not 1 <= agent.port <= 65535:
            raise BadKeyError(f"agents.{agent.name}.port", f"{agent.port} is no port")
        if not agent.health_path.startswith("/"):
            raise BadKeyError(f"agents.{agent.name}.health_path", "must begin with '/'")
        known(f"agents.{agent.name}.calls", dict.fromkeys(agent.calls), names)
    for environment in config.environments.values():
        _check_environment(environment, config.agents)
        _check_events(environment, set(config.environments) - {environment.name})
    if sum(map(len, config.waves())) < len(config.agents):
        raise BadKeyError("agents", "their `calls` form a circle")


def _waves(agents: tuple[Agent, ...]) -> tuple[tuple[Agent, ...], ...]:
    """Return the waves as far as they can be made: agents in a circle are in none."""
    done: set[str] = set()
    waves = []
    while wave := tuple(
        agent for agent in agents if agent.name not in done and set(agent.calls) <= done
    ):
        waves.append(wave)
        done.update(agent.name for agent in wave)
    return tuple(waves)


def _check_environment(environment: Environment, agents: tuple[Agent, ...]) -> None:
    where = f"environments.{environment.name}"
    if environment.account is not None and not re.fullmatch(r"\d{12}", environment.account):
        raise BadKeyError(f"{where}.account", "an account is twelve digits, quoted")
    if environment.strategy not in STRATEGIES:
        raise BadKeyError(f"{where}.strategy", f"must be one of {', '.join(STRATEGIES)}")
    for item in dataclasses.fields(environment):
        value = getattr(environment, item.name)
        least = LEAST.get(item.name, 1)
        if type(value) is int and value < least:
            raise BadKeyError(f"{where}.{item.name}", f"must be {least} or more")
    known(f"{where}.agents", environment.agents, {agent.name for agent in agents})
    for agent in agents:
        _check_size(where, environment.task(agent))


def _check_repository(project: Project) -> None:
    """Check what the subjects of GitHub's tokens are made of: they must match exactly."""
    if project.repository and not re.fullmatch(REPOSITORY, project.repository):
        raise BadKeyError("project.repository", "must be owner/name, as GitHub spells it")
    for name in ("owner_id", "repository_id"):
        id_ = getattr(project, name)
        if id_ is not None and not re.fullmatch(r"[0-9]+", id_):
            raise BadKeyError(f"project.{name}", "an id of GitHub's is digits, quoted")
        if id_ is not None and not project.repository:
            raise BadKeyError(f"project.{name}", "needs `repository`")
    if (project.owner_id is None) != (project.repository_id is None):
        raise BadKeyError("project", "`owner_id` and `repository_id`: give both or none")


def _check_events(environment: Environment, others: set[str]) -> None:
    where = f"environments.{environment.name}"
    source = environment.promotes_from
    if source is not None and source not in others:
        message = f"no other environment {source!r}, {nearest(source, sorted(others))}"
        raise BadKeyError(f"{where}.promotes_from", message)
    if environment.event is not None and environment.event not in EVENTS:
        raise BadKeyError(f"{where}.event", f"must be one of {', '.join(EVENTS)}")
    if environment.event is not None and source is None:
        message = "missing: a GitHub release promotes what another environment has validated"
        raise BadKeyError(f"{where}.promotes_from", message)


def _check_size(where: str, task: Task) -> None:
    if task.cpu not in FARGATE:
        raise BadKeyError(f"{where}.cpu", f"{task.cpu}: Fargate has {', '.join(map(str, FARGATE))}")
    least, most, step = FARGATE[task.cpu]
    if not least <= task.memory <= most or task.memory % step:
        steps = f"{least} to {most} MiB in steps of {step}"
        raise BadKeyError(f"{where}.memory", f"{task.memory}: with cpu {task.cpu}, {steps}")


def _unknown(kind: str, name: str, names: list[str]) -> UsageError:
    return UsageError(f"unknown {kind} {name!r} ({nearest(name, names)})")
