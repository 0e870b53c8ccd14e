"""The two templates with the agents of acso.toml added, and their parameters."""

import json
import zlib
from collections.abc import Mapping
from importlib.resources import files

from ci.aws.session import Aws
from ci.aws.target import Target
from ci.config import Agent, Config
from ci.errors import ConfigError
from ci.infra.trust import DEPLOY, PROMOTE, subjects

REGISTRY_STACK = "acso-registry"
MODEL = "anthropic.*"  # the Bedrock models that agents may call, as the end of their ARNs
PRIORITIES = 50_000  # of listener rules. Source: Elastic Load Balancing API, CreateRule


def registry(agents: tuple[Agent, ...]) -> str:
    """Return the template of the image repositories, with the mapping of these agents."""
    return _read("registry.yaml") + _mappings(agents)


def environment(agents: tuple[Agent, ...]) -> str:
    """Return the template of an environment, with the mapping of these agents."""
    return _read("environment.yaml") + _mappings(agents)


def key(agent: str) -> str:
    """Return an agent's name as logical ids allow it: letters and digits."""
    return agent.replace("-", "")


def mapping(agents: tuple[Agent, ...]) -> dict[str, dict[str, str]]:
    """Return name, port, health path and rule priority of each agent, by key.

    A priority is derived from the agent's name, so that adding an agent changes no other rule.

    Raises:
        ConfigError: two names have the same priority, which a load balancer does not allow.
    """
    taken: dict[int, str] = {}
    for agent in agents:
        other = taken.setdefault(_priority(agent), agent.name)
        if other != agent.name:
            message = f"agents {other} and {agent.name} have the same listener rule priority"
            raise ConfigError(message, hint="rename the newer one")
    return {
        key(agent.name): {
            "Name": agent.name,
            "Port": str(agent.port),
            "HealthPath": agent.health_path,
            "Priority": str(_priority(agent)),
        }
        for agent in agents
    }


def registry_parameters(target: Target, *, provider: bool) -> Mapping[str, str]:
    """Return the registry stack's parameters.

    Args:
        target: AWS, the agents, and the repository whose workflow may deploy.
        provider: whether the stack has GitHub's identity provider; an account has only one.
    """
    config = target.config
    repository = config.project.repository if provider else None
    return {"Agents": _keys(config), "Repository": repository or ""} | _where(target.aws)


def parameters(target: Target) -> Mapping[str, str]:
    """Return an environment stack's parameters."""
    config, env = target.config, target.env
    first, last = _ports(config)
    trusted, promoting = (subjects(config, env, kind) for kind in (DEPLOY, PROMOTE))
    return {
        "Environment": env.name,
        "Agents": _keys(config),
        "LogRetention": str(env.log_retention),
        "Exec": "true" if env.ecs_exec else "false",
        # A target group allows no interval below five seconds.
        "HealthInterval": str(max(5, env.health_interval)),
        "FirstPort": str(first),
        "LastPort": str(last),
        "Subjects": ",".join(trusted),
        "PromotionSubjects": ",".join(promoting),
        "Model": MODEL,
    } | _where(target.aws)


def _ports(config: Config) -> tuple[int, int]:
    """Return the lowest and the highest port of an agent, for the security groups."""
    ports = [agent.port for agent in config.agents]
    return min(ports), max(ports)


def _priority(agent: Agent) -> int:
    return zlib.crc32(agent.name.encode()) % PRIORITIES + 1


def _where(aws: Aws) -> dict[str, str]:
    return {"Embedded": "false" if aws.endpoint is None else "true"}


def _keys(config: Config) -> str:
    return ",".join(key(agent.name) for agent in config.agents)


def _mappings(agents: tuple[Agent, ...]) -> str:
    # JSON is valid YAML, and the order of a template's sections does not matter.
    return f"\nMappings: {json.dumps({'Agents': mapping(agents)})}\n"


def _read(name: str) -> str:
    return files("ci.infra").joinpath(name).read_text(encoding="utf-8")
