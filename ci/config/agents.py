"""The agents, and what each of them has in one environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from ci.config.settings import About


def repository_of(agent: str) -> str:
    """Return the name of an agent's ECR repository, also of one that acso.toml does not have."""
    return f"acso-{agent}"


@dataclass(frozen=True, kw_only=True)
class Agent:
    """One service: a package in `agents/` and an entry in acso.toml."""

    name: str
    port: Annotated[int, About("port that its container listens on", "port", "tasks")]
    health_path: Annotated[str, About("path of the load balancer's health check", "", "stack")]
    calls: Annotated[tuple[str, ...], About("agents that it calls; they are rolled out before it")]
    environment: Annotated[
        Mapping[str, str], About("environment variables of its container", "", "tasks")
    ] = field(default_factory=dict)
    secrets: Annotated[
        Mapping[str, str],
        About(
            "variables whose values ECS reads when a task starts: the ARN or name of a secret "
            "(`NAME[:json-key]`) or of a parameter (`/NAME`)",
            "",
            "tasks",
        ),
    ] = field(default_factory=dict)
    permissions: Annotated[
        str | None,
        About("file with a policy document (JSON) that its role gets in addition", "", "stack"),
    ] = None

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
class Scaling:
    """Autoscaling of a service's number of tasks; at least one target is set."""

    min: Annotated[int, About("fewest tasks", "tasks", "stack")]
    max: Annotated[int, About("most tasks", "tasks", "stack")]
    cpu: Annotated[
        int | None, About("average CPU use of its tasks that is aimed at", "percent", "stack")
    ] = None
    requests: Annotated[
        int | None, About("requests to each task that are aimed at", "per minute", "stack")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Size:
    """What an agent has in one environment, where that differs from the environment's."""

    cpu: Annotated[int | None, About("CPU of a task", "CPU units", "tasks")] = None
    memory: Annotated[int | None, About("memory of a task", "MiB", "tasks")] = None
    desired_count: Annotated[int | None, About("number of tasks", "tasks", "service")] = None
    scaling: Annotated[Scaling | None, About("autoscaling in place of `desired_count`")] = None
    environment: Annotated[
        Mapping[str, str], About("variables in addition to the agent's", "", "tasks")
    ] = field(default_factory=dict)
    secrets: Annotated[
        Mapping[str, str], About("secrets in addition to the agent's", "", "tasks")
    ] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Task:
    """The resolved settings of an agent in an environment: CPU units, MiB, number of tasks.

    With `scaling`, `desired_count` is the number that a new service starts with.
    """

    cpu: int
    memory: int
    desired_count: int
    scaling: Scaling | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
