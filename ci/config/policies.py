"""Policy documents of agents: what their roles are allowed beside what every agent's role has.

The rules are IAM's, and stricter: all actions or all resources of a service are never allowed, nor
is anything that gives permissions to others.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ci.config.model import Config
from ci.errors import ConfigError

ACTION = re.compile(r"[a-z0-9-]+:[A-Za-z*]+")
#: An ARN whose last part names something.
RESOURCE = re.compile(r"arn:(aws[a-z-]*|\*):[a-z0-9-]+:[^:]*:[^:]*:.*[^*?/:].*")
KEYS = {"Sid", "Effect", "Action", "Resource", "Condition"}
#: Services whose actions give permissions, to itself or to others.
POWERFUL = ("iam", "organizations", "sts", "account")
#: Source: IAM User Guide, "IAM and AWS STS quotas": characters of all inline policies of a role.
#: Every agent's role has a policy of its own of less than a fifth of that.
MOST = 8_000
HINT = "see docs/aws.md, Agents' permissions"


def with_policies(config: Config, files: Mapping[str, str]) -> Config:
    """Return a configuration with the policy documents of its agents; raises `ConfigError`.

    Args:
        config: the configuration, whose agents name files.
        files: the text of each file, by its name.
    """
    documents = {
        agent.name: document(agent.permissions, files[agent.permissions])
        for agent in config.agents
        if agent.permissions
    }
    return replace(config, policies=documents)


def paths(config: Config) -> list[str]:
    """Return the files that the agents name."""
    return sorted({agent.permissions for agent in config.agents if agent.permissions})


def document(name: str, text: str) -> Mapping[str, Any]:
    """Return the policy document in a file; raises `ConfigError` naming file and statement."""
    try:
        found = json.loads(text)
    except ValueError as error:
        message = f"{name}: {error}"
        raise ConfigError(message, hint=HINT) from None
    problems = _problems(found)
    if problems:
        message = "\n".join(f"{name}: {problem}" for problem in problems)
        raise ConfigError(message, hint=HINT)
    return dict(found)


def _problems(found: Any) -> list[str]:
    if not isinstance(found, dict) or set(found) - {"Version", "Id"} != {"Statement"}:
        return ["must be an object with Version and Statement"]
    if found.get("Version") != "2012-10-17":
        return ['Version must be "2012-10-17"']
    size = len(json.dumps(found, separators=(",", ":")))
    if size > MOST:
        return [f"has {size} characters; a role's policy may have {MOST}"]
    statements = found["Statement"]
    if not isinstance(statements, list) or not statements:
        return ["Statement must be a list of statements"]
    return [
        f"Statement[{number}]{problem}"
        for number, item in enumerate(statements)
        for problem in _of_statement(item)
    ]


def _of_statement(item: Any) -> list[str]:
    if not isinstance(item, dict):
        return [" must be an object"]
    problems = [f".{key}: not allowed here" for key in item if key not in KEYS]
    problems += [f".{key}: missing" for key in ("Effect", "Action", "Resource") if key not in item]
    if problems:
        return problems
    if item["Effect"] not in ("Allow", "Deny"):
        problems.append(".Effect: must be Allow or Deny")
    if item["Effect"] == "Deny":
        return problems
    problems += [
        f".Action: {action!r}: name the actions, such as s3:GetObject"
        for action in _listed(item["Action"])
        if not _is_action(action)
    ]
    problems += [
        f".Resource: {resource!r}: name the resources by ARN, or narrow them by a Condition"
        for resource in _listed(item["Resource"])
        if not _is_resource(resource) and not item.get("Condition")
    ]
    return problems


def _is_action(value: object) -> bool:
    if not isinstance(value, str) or not ACTION.fullmatch(value):
        return False
    service, _, name = value.partition(":")
    return service not in POWERFUL and not name.startswith("*")


def _is_resource(value: object) -> bool:
    return isinstance(value, str) and bool(RESOURCE.fullmatch(value))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
