"""What is wrong with the statements of policies; pure."""

import fnmatch
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ci.aws.audit.roles import Role, Statement

#: Names of AWS's managed policies that allow more than any role of an environment needs.
BROAD = re.compile(r"Administrator|PowerUser|FullAccess|^IAM\w*Full")
#: Actions that only read begin with one of these.
READING = (
    *("BatchGet", "Describe", "Get", "List", "Lookup", "Query", "Scan", "Search", "Validate"),
    "View",
)
#: Actions that change something, and for which no narrower resource than `*` exists.
#: Source: Service Authorization Reference, "Resource types" of each action.
WITHOUT_RESOURCE = frozenset(
    action.lower()
    for action in (
        "cloudwatch:PutMetricData",
        "ecr:GetAuthorizationToken",
        "ecs:DeregisterTaskDefinition",
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
        "xray:PutTelemetryRecords",
        "xray:PutTraceSegments",
    )
)
#: A resource that is every one of a type, such as `table/*` or `role/*`, or every one at all.
EVERY = re.compile(r"\**|[\w.-]+[/:]\*+")
PASS_ROLE, PASSED_TO = "iam:PassRole", "iam:passedtoservice"
ECS_TASKS = "ecs-tasks.amazonaws.com"
ACCOUNT_KEYS = ("aws:sourceaccount", "aws:sourcearn")


def wildcards(statement: Statement) -> list[str]:
    """Return what a statement allows too broadly: all actions, or changes of every resource."""
    if statement.effect != "Allow":
        return []
    where = f"{statement.role}, {statement.policy}"
    if statement.negated:
        return [f"{where}: allows all but some ({', '.join(statement.negated)})"]
    broad = [action for action in statement.actions if _service_wide(action)]
    found = [f"{where}: allows {action}" for action in broad]
    if any(wide(resource) for resource in statement.resources):
        changing = [a for a in statement.actions if a not in broad and _changes(a)]
        resources = ", ".join(resource for resource in statement.resources if wide(resource))
        found += [f"{where}: allows {action} on {resources}" for action in changing]
    return found


def wide(resource: str) -> bool:
    """Return whether a resource is `*`, or an ARN of every resource of a type."""
    if not resource.startswith("arn:"):
        return "*" in resource
    return EVERY.fullmatch(resource.split(":", 5)[-1]) is not None


def passing(statement: Statement, prefix: str) -> list[str]:
    """Return what is wrong with a statement that allows to pass roles.

    Args:
        statement: any statement.
        prefix: beginning of the names of the roles that may be passed.
    """
    if statement.effect != "Allow" or not allows(statement, PASS_ROLE):
        return []
    where = f"{statement.role}, {statement.policy}: iam:PassRole"
    roles = [resource.rpartition(":role/")[2] for resource in statement.resources]
    strange = [role for role in roles if not role.startswith(prefix)]
    found = [f"{where} of {role}, which is no role of the environment" for role in strange]
    services = _tested(statement.condition, (PASSED_TO,))
    if not services or any("*" in name for name in services):
        found.append(f"{where} to any service")
    return found


def allows(statement: Statement, action: str) -> bool:
    """Return whether a statement's actions include one."""
    if "NotAction" in statement.negated:
        return True
    return any(fnmatch.fnmatchcase(action.lower(), known.lower()) for known in statement.actions)


def trusting(statement: Statement, role: Role, *, service: str = "") -> list[str]:
    """Return what is wrong with a statement that says who may assume a role.

    Args:
        statement: of the role's trust policy.
        role: the role.
        service: the only service that may assume it; empty: any one, or an identity provider.
    """
    if statement.effect != "Allow":
        return []
    account = role.arn.split(":")[4]
    found = [f"{role.name} trusts all but some"] * ("NotPrincipal" in statement.negated)
    for kind, name in statement.principals:
        found += _untrusted(kind, name, role.name, account, service)
    kinds = {kind for kind, _ in statement.principals}
    if "Federated" in kinds:
        found += _identity(statement, role.name)
    if service and "Service" in kinds and not _tested(statement.condition, ACCOUNT_KEYS):
        found.append(f"{role.name} trusts {service} on behalf of any account")
    return found


def _untrusted(kind: str, name: str, role: str, account: str, service: str) -> list[str]:
    if name == "*":
        return [f"{role} trusts everybody"]
    if service and (kind, name) != ("Service", service):
        return [f"{role} trusts {name}, not {service} alone"]
    if kind == "AWS" and account not in name:
        return [f"{role} trusts {name}, which is another account's"]
    return []


def _identity(statement: Statement, role: str) -> list[str]:
    """Return what is missing for the tokens of an identity provider: exact subject, audience."""
    found = []
    for key in ("sub", "aud"):
        exact = _tested(statement.condition, (f":{key}",), exactly=True)
        if not exact:
            found.append(f"{role} trusts tokens of any `{key}`")
    return found


def _tested(
    condition: Mapping[str, Any], keys: Iterable[str], *, exactly: bool = False
) -> list[str]:
    """Return the values that a condition compares keys with; `exactly`: not by patterns."""
    tests = ("stringequals", "arnequals", *(() if exactly else ("stringlike", "arnlike")))
    return [
        str(value)
        for name, pairs in condition.items()
        if name.rpartition(":")[2].lower() in tests and not name.lower().endswith("ifexists")
        for key, values in pairs.items()
        if key.lower().endswith(tuple(keys))
        for value in (values if isinstance(values, list) else [values])
    ]


def _service_wide(action: str) -> bool:
    name = action.partition(":")[2] or action
    return name.startswith(("*", "?"))


def _changes(action: str) -> bool:
    name = action.partition(":")[2]
    return action.lower() not in WITHOUT_RESOURCE and not name.startswith(READING)
