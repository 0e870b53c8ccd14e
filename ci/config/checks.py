"""Checks of acso.toml: keys that exist, and values that are possible together."""

import dataclasses
import re
from collections.abc import Mapping
from types import MappingProxyType

from ci.config import access, validating, variables
from ci.config.agents import Agent, Task
from ci.config.environments import CHECKS, Environment
from ci.config.model import Config, Project
from ci.config.problems import BadKeyError, known
from ci.config.settings import nearest

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
MINIMUMS = MappingProxyType({"bake_time": 0, "keep_releases": 2})
#: The events beside pushes that release to an environment.
EVENTS = ("release",)
REPOSITORY = r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+"


def check(config: Config) -> None:
    """Raise `BadKeyError` for values that have the right type but are invalid."""
    if config.project.platform not in PLATFORMS:
        raise BadKeyError("project.platform", f"must be one of {', '.join(PLATFORMS)}")
    _check_repository(config.project)
    for gate, reason in config.project.unexamined.items():
        known("project.unexamined", {gate: None}, {"packages"})
        if not reason.strip():
            raise BadKeyError(f"project.unexamined.{gate}", "must say why")
    names = {agent.name for agent in config.agents}
    if len({name.replace("-", "") for name in names}) < len(names):
        raise BadKeyError("agents", "two names differ only in hyphens, which logical ids lack")
    for agent in config.agents:
        if not 1 <= agent.port <= 65535:
            raise BadKeyError(
                f"agents.{agent.name}.port", f"{agent.port} is not a port (1 to 65535)"
            )
        if not agent.health_path.startswith("/"):
            raise BadKeyError(f"agents.{agent.name}.health_path", "must begin with '/'")
        known(f"agents.{agent.name}.calls", dict.fromkeys(agent.calls), names)
        variables.check_agent(agent)
    for environment in config.environments.values():
        _check_environment(environment, config.agents)
        access.check(environment)
        variables.check_environment(environment, config.agents)
        _check_events(environment, set(config.environments) - {environment.name})
    _check_triggers(config)
    access.check_domains(config.environments.values())
    if sum(map(len, config.waves())) < len(config.agents):
        raise BadKeyError("agents", "their `calls` form a cycle")


def _check_environment(environment: Environment, agents: tuple[Agent, ...]) -> None:
    where = f"environments.{environment.name}"
    if environment.account is not None and not re.fullmatch(r"\d{12}", environment.account):
        raise BadKeyError(f"{where}.account", "must be twelve digits in quotes")
    if environment.strategy not in STRATEGIES:
        raise BadKeyError(f"{where}.strategy", f"must be one of {', '.join(STRATEGIES)}")
    for item in dataclasses.fields(environment):
        value = getattr(environment, item.name)
        least = MINIMUMS.get(item.name, 1)
        if type(value) is int and value < least:
            raise BadKeyError(f"{where}.{item.name}", f"must be {least} or more")
    validating.check_names(f"{where}.suites", "suite", environment.suites, validating.SUITES)
    validating.check_names(f"{where}.checks", "check", environment.checks, CHECKS)
    for key, limit in vars(environment.thresholds).items():
        if limit < 1:
            raise BadKeyError(f"{where}.thresholds.{key}", "must be 1 or more")
    for check_id, accepted in environment.exceptions.items():
        validating.check_accepted(f"{where}.exceptions.{check_id}", check_id, accepted)
    known(f"{where}.agents", environment.agents, {agent.name for agent in agents})
    for agent in agents:
        own = environment.agents.get(agent.name)
        sized = own is not None and (own.cpu is not None or own.memory is not None)
        _check_size(f"{where}.agents.{agent.name}" if sized else where, environment.task(agent))


def _check_repository(project: Project) -> None:
    """Check the parts of GitHub's token subjects, which must match exactly."""
    if project.repository and not re.fullmatch(REPOSITORY, project.repository):
        raise BadKeyError("project.repository", "must be owner/name, as GitHub spells it")
    for name in ("owner_id", "repository_id"):
        id_ = getattr(project, name)
        if id_ is not None and not re.fullmatch(r"[0-9]+", id_):
            raise BadKeyError(f"project.{name}", "must be digits in quotes")
        if id_ is not None and not project.repository:
            raise BadKeyError(f"project.{name}", "needs `repository`")
    if (project.owner_id is None) != (project.repository_id is None):
        raise BadKeyError("project", "`owner_id` and `repository_id`: set both or neither")


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


def _check_triggers(config: Config) -> None:
    """Check that an event of the repository releases to one environment at most."""
    released: dict[str, str] = {}
    for environment in config.environments.values():
        where = f"environments.{environment.name}"
        if environment.branch is not None and environment.event is not None:
            raise BadKeyError(f"{where}.event", "`branch` and `event`: set one of them")
        for key in ("branch", "event"):
            value = getattr(environment, key)
            other = released.setdefault(f"{key} {value}", environment.name)
            if value is not None and other != environment.name:
                raise BadKeyError(f"{where}.{key}", f"{value!r} already releases to {other}")


def _check_size(where: str, task: Task) -> None:
    if task.cpu not in FARGATE:
        raise BadKeyError(f"{where}.cpu", f"{task.cpu}: Fargate has {', '.join(map(str, FARGATE))}")
    least, most, step = FARGATE[task.cpu]
    if not least <= task.memory <= most or task.memory % step:
        steps = f"{least} to {most} MiB in steps of {step}"
        raise BadKeyError(f"{where}.memory", f"{task.memory}: with cpu {task.cpu}, {steps}")
