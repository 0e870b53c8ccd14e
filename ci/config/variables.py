"""Checks of what agents are configured with: variables, secrets, numbers of tasks."""

import re
from collections.abc import Mapping

from ci.config.agents import Agent, Scaling, Size
from ci.config.environments import Environment
from ci.config.problems import require

NAME = r"[A-Za-z_][A-Za-z0-9_]*"
#: Variables that the pipeline sets (`ci.release.plan.desired`), or that only AWS may set.
RESERVED = frozenset(
    {
        "ACSO_AGENT",
        "ACSO_DIGEST",
        "ACSO_ENVIRONMENT",
        "ACSO_STATE_TABLE",
        "ACSO_VERSION",
        "AWS_ACCESS_KEY_ID",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "PORT",
    }
)
#: Values that are secrets whatever their name: AWS access keys, private keys, JSON web tokens, and
#: URLs that contain a password.
SECRET_VALUE = re.compile(
    r"\b(AKIA|ASIA)[A-Z0-9]{16}\b|-----BEGIN [A-Z ]*PRIVATE KEY|\beyJ[\w-]+\.eyJ|://[^/\s:@]*:[^/\s@]+@"
)
#: A secret's or parameter's ARN, a parameter's name, or a secret's name; a JSON key of a secret.
#: Source: Amazon ECS API Reference, Secret; AWS Secrets Manager API Reference, CreateSecret.
PARTS = r"[A-Za-z0-9/_+=.@-]+"
KEY = r"[^:\s]+"
SECRET = (
    rf"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{{12}}:secret:{PARTS}(:{KEY}(:[^:]*:[^:]*)?)?"
    rf"|arn:aws[a-z-]*:ssm:[a-z0-9-]+:\d{{12}}:parameter/{PARTS}"
    rf"|/{PARTS}"
    rf"|(?!arn:)[A-Za-z0-9_+=.@-]{PARTS}(:{KEY})?"
)
CPU = range(1, 101)  # percent


def check_agent(agent: Agent) -> None:
    """Raise `BadKeyError` for an agent's variables that are impossible."""
    where = f"agents.{agent.name}"
    _check_variables(agent.environment, agent.secrets, where)
    fine = agent.permissions is None or _relative(agent.permissions)
    require(fine, f"{where}.permissions", "must be a path in the repository, such as agents/x.json")


def check_environment(environment: Environment, agents: tuple[Agent, ...]) -> None:
    """Raise `BadKeyError` for variables and numbers that are impossible in an environment."""
    where = f"environments.{environment.name}"
    _check_scaling(environment.scaling, f"{where}.scaling")
    for name, own in environment.agents.items():
        at = f"{where}.agents.{name}"
        _check_variables(own.environment, own.secrets, at)
        _check_scaling(own.scaling, f"{at}.scaling")
        _check_count(own, at)
    for agent in agents:
        task = environment.task(agent)
        _check_variables(task.environment, task.secrets, f"{where}.agents.{agent.name}")


def _check_variables(values: Mapping[str, str], secrets: Mapping[str, str], where: str) -> None:
    for table, items in (("environment", values), ("secrets", secrets)):
        for name in items:
            at = f"{where}.{table}.{name}"
            require(re.fullmatch(NAME, name), at, "must be a variable's name")
            require(name not in RESERVED, at, "the pipeline or AWS sets this variable")
    for name, value in values.items():
        at = f"{where}.environment.{name}"
        # The value is not repeated: it may be a secret.
        require(not SECRET_VALUE.search(value), at, "looks like a secret: put it in `secrets`")
        require(name not in secrets, at, "is also in `secrets`: set one of them")
    for name, value in secrets.items():
        what = "must be the ARN or name of a secret (NAME[:json-key]) or of a parameter (/NAME)"
        require(re.fullmatch(SECRET, value), f"{where}.secrets.{name}", what)


def _check_scaling(scaling: Scaling | None, where: str) -> None:
    if scaling is None:
        return
    require(scaling.min >= 1, f"{where}.min", "must be 1 or more")
    require(scaling.max >= scaling.min, f"{where}.max", "must be `min` or more")
    require(scaling.cpu or scaling.requests, where, "`cpu` or `requests`: set at least one of them")
    require(scaling.cpu is None or scaling.cpu in CPU, f"{where}.cpu", "must be 1 to 100 percent")
    positive = scaling.requests is None or scaling.requests >= 1
    require(positive, f"{where}.requests", "must be 1 or more")


def _check_count(own: Size, where: str) -> None:
    require(
        own.scaling is None or own.desired_count is None,
        f"{where}.desired_count",
        "`desired_count` and `scaling`: set one of them",
    )


def _relative(path: str) -> bool:
    return (
        not path.startswith(("/", "~")) and ".." not in path.split("/") and path.endswith(".json")
    )
