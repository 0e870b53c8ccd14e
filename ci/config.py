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
from types import MappingProxyType, UnionType

from ci.config_checks import BadKeyError, check, known, nearest
from ci.errors import ConfigError, UsageError

FILE = "acso.toml"
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


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
    defaults = _table(data, "defaults")
    known("defaults", defaults, {"agent", "environment"})
    agent_defaults = _table(defaults, "agent", "defaults.")
    environment_defaults = _table(defaults, "environment", "defaults.")
    # Checked by themselves too: an unknown key here must not be reported against each user of it.
    known("defaults.agent", agent_defaults, _fields(Agent) - {"name"})
    known("defaults.environment", environment_defaults, _fields(Environment) - {"name"})
    agents = tuple(
        _build(Agent, f"agents.{name}", agent_defaults | _named(data, "agents", name))
        for name in _table(data, "agents")
    )
    environments = {
        name: _build(
            Environment,
            f"environments.{name}",
            environment_defaults | _named(data, "environments", name),
        )
        for name in _table(data, "environments")
    }
    config = Config(
        project=_build(Project, "project", _table(data, "project")),
        agents=agents,
        environments=MappingProxyType(environments),
    )
    check(config)
    return config


def _table(data: dict[str, typing.Any], key: str, prefix: str = "") -> dict[str, typing.Any]:
    value = data.get(key)
    if value is None:
        raise BadKeyError(prefix + key, "missing table")
    if not isinstance(value, dict):
        raise BadKeyError(prefix + key, f"must be a table, not {_name_of(type(value))}")
    return value


def _named(data: dict[str, typing.Any], group: str, name: str) -> dict[str, typing.Any]:
    if not NAME.fullmatch(name):
        raise BadKeyError(f"{group}.{name}", "names are lower-case words joined by '-'")
    return {**_table(data[group], name, f"{group}."), "name": name}


def _fields(cls: type) -> set[str]:
    return {item.name for item in dataclasses.fields(cls)}


T = typing.TypeVar("T")


def _build(cls: type[T], where: str, data: dict[str, typing.Any]) -> T:
    known(where, data, _fields(cls))
    types = typing.get_type_hints(cls)
    values: dict[str, typing.Any] = {}
    for item in dataclasses.fields(typing.cast("typing.Any", cls)):
        key = f"{where}.{item.name}"
        if item.name in data:
            values[item.name] = _value(types[item.name], key, data[item.name])
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise BadKeyError(key, f"missing value ({_name_of(types[item.name])})")
    return cls(**values)


def _value(kind: typing.Any, key: str, value: typing.Any) -> typing.Any:
    if isinstance(kind, UnionType):  # `X | None`: absent, or an X
        kind = next(item for item in typing.get_args(kind) if item is not type(None))
    if kind in (bool, int, str) and type(value) is kind:
        return value
    if typing.get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_value(str, f"{key}[{n}]", item) for n, item in enumerate(value))
    if typing.get_origin(kind) is Mapping and isinstance(value, dict):
        return MappingProxyType(
            {name: _build(Size, f"{key}.{name}", _table(value, name, f"{key}.")) for name in value}
        )
    raise BadKeyError(key, f"must be {_name_of(kind)}, not {_name_of(type(value))}")


def _name_of(kind: typing.Any) -> str:
    names = {int: "a whole number", str: "a text", bool: "true or false", dict: "a table"}
    if isinstance(kind, UnionType):
        kind = typing.get_args(kind)[0]
    if kind in names:
        return names[kind]
    return "a list of texts" if typing.get_origin(kind) is tuple else "a " + str(kind.__name__)


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


def _unknown(kind: str, name: str, names: list[str]) -> UsageError:
    return UsageError(f"unknown {kind} {name!r} ({nearest(name, names)})")
