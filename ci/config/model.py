"""The whole configuration, and the environment that an event releases to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from ci.config.agents import Agent
from ci.config.environments import Environment
from ci.config.settings import About, nearest
from ci.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Project:
    """The settings that are the same for all agents and environments."""

    name: Annotated[str, About("first part of every name in AWS", "", "stack")]
    base_image: Annotated[str, About("image that the agents' images start from", "", "tasks")]
    platform: Annotated[str, About("of the agents' images and tasks", "", "tasks")] = "linux/amd64"
    repository: Annotated[
        str | None, About("owner/name on GitHub, whose workflow may deploy", "", "stack")
    ] = None
    owner_id: Annotated[
        str | None,
        About("GitHub's id of the owner, if tokens have immutable subjects", "", "stack"),
    ] = None
    repository_id: Annotated[
        str | None, About("GitHub's id of the repository, likewise", "", "stack")
    ] = None
    unexamined: Annotated[
        Mapping[str, str],
        About(
            "gates (`packages`) that may end without having looked, in CI and before releases to "
            "AWS; each with the reason"
        ),
    ] = field(default_factory=dict)

    @property
    def audit_required(self) -> bool:
        """Whether packages must have been looked at in CI and before releases to AWS."""
        return "packages" not in self.unexamined


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole of acso.toml, and the policy documents that it names, by agent."""

    project: Project
    agents: tuple[Agent, ...]
    environments: Mapping[str, Environment]
    policies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

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
