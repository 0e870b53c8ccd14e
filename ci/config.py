"""acso.toml as frozen dataclasses: agents, environments, and the AWS names derived from them.

An invalid file is one `ConfigError`: the file, the key and, for an unknown key, the nearest valid
name.
"""

import dataclasses
import difflib
import re
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, UnionType

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
#: Platforms of images, and ECS's name of their CPU architecture in a task definition.
PLATFORMS: Mapping[str, str] = MappingProxyType({"linux/amd64": "X86_64", "linux/arm64": "ARM64"})
#: Minimums of an environment's numbers, where it is not 1. (A service without a task could not be
#: validated; a rollback needs two releases.)
MINIMUMS = MappingProxyType({"approvals": 0, "bake_time": 0, "keep_releases": 2})


@dataclass(frozen=True, kw_only=True)
class Project:
    """The settings that are the same for all agents and environments."""

    name: str
    base_image: str
    platform: str = "linux/amd64"  # of the agents' images and tasks
    repository: str | None = None  # owner/name on GitHub, whose workflow may deploy


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
    approvals: int
    ecs_exec: bool
    account: str | None = None
    branch: str | None = None
    event: str | None = None
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
            if event == "push" and ref == f"refs/heads/{environment.branch}":
                return environment
            if event == environment.event:
                return environment
        return None

    def waves(self) -> tuple[tuple[Agent, ...], ...]:
        """Return the agents in rollout order: each wave calls only agents of earlier waves."""
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
    except _BadKeyError as error:
        message = f"{file}: {error}"
        raise ConfigError(message) from None


class _BadKeyError(Exception):
    """One key is invalid; `parse` adds the file."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")


def _config(data: dict[str, typing.Any]) -> Config:
    _known("", data, {"project", "defaults", "agents", "environments"})
    defaults = _table(data, "defaults")
    _known("defaults", defaults, {"agent", "environment"})
    agent_defaults = _table(defaults, "agent", "defaults.")
    environment_defaults = _table(defaults, "environment", "defaults.")
    # Checked first: an unknown key in the defaults must not be reported for each agent.
    _known("defaults.agent", agent_defaults, _fields(Agent) - {"name"})
    _known("defaults.environment", environment_defaults, _fields(Environment) - {"name"})
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
    _check(config)
    return config


def _table(data: dict[str, typing.Any], key: str, prefix: str = "") -> dict[str, typing.Any]:
    value = data.get(key)
    if value is None:
        raise _BadKeyError(prefix + key, "missing table")
    if not isinstance(value, dict):
        raise _BadKeyError(prefix + key, f"must be a table, not {_name_of(type(value))}")
    return value


def _named(data: dict[str, typing.Any], group: str, name: str) -> dict[str, typing.Any]:
    if not NAME.fullmatch(name):
        raise _BadKeyError(f"{group}.{name}", "names are lower-case words joined by '-'")
    return {**_table(data[group], name, f"{group}."), "name": name}


def _fields(cls: type) -> set[str]:
    return {item.name for item in dataclasses.fields(cls)}


def _known(where: str, data: Mapping[str, object], names: set[str]) -> None:
    for key in data:
        if key not in names:
            near = difflib.get_close_matches(key, sorted(names), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(names))}"
            raise _BadKeyError(f"{where}.{key}" if where else key, f"unknown key, {hint}")


T = typing.TypeVar("T")


def _build(cls: type[T], where: str, data: dict[str, typing.Any]) -> T:
    _known(where, data, _fields(cls))
    types = typing.get_type_hints(cls)
    values: dict[str, typing.Any] = {}
    for item in dataclasses.fields(typing.cast("typing.Any", cls)):
        key = f"{where}.{item.name}"
        if item.name in data:
            values[item.name] = _value(types[item.name], key, data[item.name])
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise _BadKeyError(key, f"missing value ({_name_of(types[item.name])})")
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
    raise _BadKeyError(key, f"must be {_name_of(kind)}, not {_name_of(type(value))}")


def _name_of(kind: typing.Any) -> str:
    names = {int: "a whole number", str: "a text", bool: "true or false", dict: "a table"}
    if isinstance(kind, UnionType):
        kind = typing.get_args(kind)[0]
    if kind in names:
        return names[kind]
    return "a list of texts" if typing.get_origin(kind) is tuple else "a " + str(kind.__name__)


def _check(config: Config) -> None:
    """Raise on values that have the right type but are invalid."""
    if config.project.platform not in PLATFORMS:
        raise _BadKeyError("project.platform", f"must be one of {', '.join(PLATFORMS)}")
    names = {agent.name for agent in config.agents}
    if len({name.replace("-", "") for name in names}) < len(names):
        raise _BadKeyError("agents", "two names differ only in hyphens, which logical ids lack")
    for agent in config.agents:
        if not 1 <= agent.port <= 65535:
            raise _BadKeyError(
                f"agents.{agent.name}.port", f"{agent.port} is not a port (1 to 65535)"
            )
        if not agent.health_path.startswith("/"):
            raise _BadKeyError(f"agents.{agent.name}.health_path", "must begin with '/'")
        _known(f"agents.{agent.name}.calls", dict.fromkeys(agent.calls), names)
    for environment in config.environments.values():
        _check_environment(environment, config.agents)
    if sum(map(len, config.waves())) < len(config.agents):
        raise _BadKeyError("agents", "their `calls` form a cycle")


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


def _check_environment(environment: Environment, agents: tuple[Agent, ...]) -> None:
    where = f"environments.{environment.name}"
    if environment.account is not None and not re.fullmatch(r"\d{12}", environment.account):
        raise _BadKeyError(f"{where}.account", "must be twelve digits in quotes")
    if environment.strategy not in STRATEGIES:
        raise _BadKeyError(f"{where}.strategy", f"must be one of {', '.join(STRATEGIES)}")
    for item in dataclasses.fields(environment):
        value = getattr(environment, item.name)
        least = MINIMUMS.get(item.name, 1)
        if type(value) is int and value < least:
            raise _BadKeyError(f"{where}.{item.name}", f"must be {least} or more")
    _known(f"{where}.agents", environment.agents, {agent.name for agent in agents})
    for agent in agents:
        _check_size(where, environment.task(agent))


def _check_size(where: str, task: Task) -> None:
    if task.cpu not in FARGATE:
        raise _BadKeyError(
            f"{where}.cpu", f"{task.cpu}: Fargate has {', '.join(map(str, FARGATE))}"
        )
    least, most, step = FARGATE[task.cpu]
    if not least <= task.memory <= most or task.memory % step:
        steps = f"{least} to {most} MiB in steps of {step}"
        raise _BadKeyError(f"{where}.memory", f"{task.memory}: with cpu {task.cpu}, {steps}")


def _unknown(kind: str, name: str, known: list[str]) -> UsageError:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return UsageError(f"unknown {kind} {name!r} ({hint})")
