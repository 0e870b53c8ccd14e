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


#: HTTP status codes with which a target counts as healthy.
HEALTH_CODES = "200"
#: Begins the last line of a template, which `mapped` reads again.
MAPPINGS = "\nMappings: "

Mapped = Mapping[str, Mapping[str, str]]  # values of each agent, by key


def registry(agents: Mapped) -> str:
    """Return the template of the image repositories, with this mapping of agents."""
    return with_agents(_read("registry.yaml"), agents)


def environment(agents: tuple[Agent, ...]) -> str:
    """Return the template of an environment, with the mapping of these agents."""
    return with_agents(_read("environment.yaml"), mapping(agents))


def with_agents(template: str, agents: Mapped) -> str:
    """Return a template with this mapping of agents in place of its own, if it has one."""
    # JSON is valid YAML, and the order of a template's sections does not matter.
    body = template.rpartition(MAPPINGS)[0] if MAPPINGS in template else template
    return f"{body}{MAPPINGS}{json.dumps({'Agents': agents})}\n"


def mapped(template: str) -> dict[str, dict[str, str]]:
    """Return the mapping of agents of a template that was made here; empty for any other."""
    _, found, text = template.rpartition(MAPPINGS)
    agents: dict[str, dict[str, str]] = json.loads(text)["Agents"] if found else {}
    return agents


def key(agent: str) -> str:
    """Return an agent's name as logical ids allow it: letters and digits."""
    return agent.replace("-", "")


def mapping(agents: tuple[Agent, ...]) -> dict[str, dict[str, str]]:
    """Return name, port, health path and codes, and rule priority of each agent, by key.

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
            "HealthCodes": HEALTH_CODES,
            "Priority": str(_priority(agent)),
        }
        for agent in agents
    }


def registry_mapping(agents: tuple[Agent, ...]) -> dict[str, dict[str, str]]:
    """Return the name of each agent, by key."""
    return {key(agent.name): {"Name": agent.name} for agent in agents}


def registry_parameters(target: Target, agents: Mapped, *, provider: bool) -> Mapping[str, str]:
    """Return the registry stack's parameters.

    Args:
        target: AWS, and the repository whose workflow may deploy.
        agents: the mapping of the agents that have a repository.
        provider: whether the stack has GitHub's identity provider; an account has only one.
    """
    repository = target.config.project.repository if provider else None
    return {"Agents": ",".join(agents), "Repository": repository or ""} | _where(target.aws)


def parameters(target: Target) -> Mapping[str, str]:
    """Return an environment stack's parameters."""
    config, env = target.config, target.env
    first, last = _ports(config)
    trusted, promoting = (subjects(config, env, kind) for kind in (DEPLOY, PROMOTE))
    return {
        "Environment": env.name,
        "Agents": ",".join(key(agent.name) for agent in config.agents),
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


def _read(name: str) -> str:
    return files("ci.infra").joinpath(name).read_text(encoding="utf-8")
