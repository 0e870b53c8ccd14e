"""The two templates with the agents of acso.toml added."""

import json
import re
import zlib
from collections.abc import Mapping
from importlib.resources import files

from ci.config import Agent, Environment, Scaling
from ci.errors import ConfigError
from ci.infra.generated import BEGIN, END, MAPPINGS, Facts, with_facts

REGISTRY_STACK = "acso-registry"
PRIORITIES = 50_000  # of listener rules. Source: Elastic Load Balancing API, CreateRule


#: HTTP status codes with which a target counts as healthy.
HEALTH_CODES = "200"
#: Lines of a template's file that CloudFormation does not get: its size is limited.
COMMENT = re.compile(r"^[ ]*(#(?!@).*)?\n", re.MULTILINE)
#: Source: CloudFormation User Guide, "Understand CloudFormation quotas": a template's bytes in a
#: request, and the resources that it declares.
MOST_BYTES, MOST_RESOURCES = 51_200, 500
#: Descriptions of parameters, which nobody reads there, for the same reason.
DESCRIPTION = re.compile(r"^    Description: .*\n", re.MULTILINE)
#: Lines with the names of what production keeps: key, and the text around the environment's name.
KEPT_NAME = re.compile(
    r"((?:TableName|LogGroupName):) !Sub (\S*)\$\{Environment\}(\S*)$", re.MULTILINE
)
#: Parts that an environment has only if its load balancer is internal.
INTERNAL = re.compile(r"^ *#@internal\n(.*?)^ *#@end-internal\n", re.MULTILINE | re.DOTALL)
ENDPOINTS = 8  # that environment.yaml's loop over endpoints makes

Mapped = Mapping[str, Mapping[str, str]]  # values of each agent, by key


def registry(agents: Mapped) -> str:
    """Return the template of the image repositories, with this mapping of agents."""
    return with_agents(_read("registry.yaml"), agents)


def environment(
    agents: tuple[Agent, ...],
    facts: Facts = Facts(),  # noqa: B008 (frozen)
    env: Environment | None = None,
) -> str:
    """Return the template of an environment, with the mapping of these agents.

    Args:
        agents: those of acso.toml.
        facts: what its generated parts are made from.
        env: the environment, for the agents' autoscaling; None for none.

    Raises:
        ConfigError: CloudFormation takes no template as large as this one.
    """
    return checked(with_facts(with_agents(_named(env), mapping(agents, env)), facts))


def _named(env: Environment | None) -> str:
    """Return the template with the parts that the environment needs; with all of them for None.

    The names of what production keeps are literal in it: CloudFormation imports only resources
    whose names are no expressions. Source: CloudFormation User Guide, "Import AWS resources into a
    CloudFormation stack automatically".
    """
    internal = env is None or env.load_balancer.internal
    body = INTERNAL.sub(r"\1" if internal else "", compact(_read("environment.yaml")))
    return KEPT_NAME.sub(rf"\1 \g<2>{env.name}\3", body) if env else body


def checked(template: str) -> str:
    """Return a template; raises `ConfigError` if it is larger than CloudFormation allows."""
    if not within_limits(template):
        message = (
            f"the infrastructure of {len(mapped(template))} agents is too large for one stack: "
            f"{len(template.encode())} bytes of {MOST_BYTES}, {resources(template)} resources of "
            f"{MOST_RESOURCES}"
        )
        hint = (
            "move agents into an acso.toml of their own, or give fewer of them policies or scaling"
        )
        raise ConfigError(message, hint=hint)
    return template


def within_limits(template: str) -> bool:
    """Return whether CloudFormation takes a template of this size."""
    return len(template.encode()) <= MOST_BYTES and resources(template) <= MOST_RESOURCES


def resources(template: str) -> int:
    """Return how many resources a template declares, its loops expanded."""
    agents = len(mapped(template))
    single = len(re.findall(r"^  Type: AWS::", template, re.MULTILINE))
    looped = len(re.findall(r"^     Type: AWS::", template, re.MULTILINE)) - 1
    made = template.partition(BEGIN)[2].partition(END)[0].splitlines()
    for line in made:
        item = json.loads(line.partition(": ")[2])
        keys = item[1] if isinstance(item, list) else [""]
        single += len(keys) if isinstance(keys, list) else agents
    return single + looped * agents + ENDPOINTS


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


def mapping(agents: tuple[Agent, ...], env: Environment | None = None) -> dict[str, dict[str, str]]:
    """Return name, port, health path and codes, and rule priority of each agent, by key.

    An agent that is scaled in the environment also has its limits and targets.

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
            **(_scaling(env.task(agent).scaling) if env else {}),
        }
        for agent in agents
    }


def registry_mapping(agents: tuple[Agent, ...]) -> dict[str, dict[str, str]]:
    """Return the name of each agent, by key."""
    return {key(agent.name): {"Name": agent.name} for agent in agents}


def _scaling(scaling: Scaling | None) -> dict[str, str]:
    if scaling is None:
        return {}
    found = {"Min": scaling.min, "Max": scaling.max}
    aims = {"Cpu": scaling.cpu, "Requests": scaling.requests}
    return {name: str(value) for name, value in (found | aims).items() if value is not None}


def _priority(agent: Agent) -> int:
    return zlib.crc32(agent.name.encode()) % PRIORITIES + 1


def _read(name: str) -> str:
    return files("ci.infra").joinpath(name).read_text(encoding="utf-8")


def _without_descriptions(text: str) -> str:
    head, resources, rest = text.partition("\nResources:\n")
    return DESCRIPTION.sub("", head) + resources + rest


def compact(text: str) -> str:
    """Return YAML in blocks that are indented by two spaces, with one space each and no comments.

    Descriptions of parameters are left out as well.

    The item of a list keeps its two columns, `- `.
    """
    lists: list[int] = []  # columns of the lists that a line is in
    lines = []
    for line in _without_descriptions(COMMENT.sub("", text)).splitlines():
        content = line.lstrip()
        column = len(line) - len(content)
        lists = [at for at in lists if at < column]
        lines.append(" " * (column // 2 + len(lists)) + content)
        while content.startswith("- "):
            lists.append(column)
            content, column = content[2:], column + 2
    return "\n".join([*lines, ""])
