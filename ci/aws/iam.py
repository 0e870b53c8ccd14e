"""AWS IAM: the account's identity providers, and the trust and permissions of its roles."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ci.aws.session import Aws
from ci.errors import AwsError


async def identity_providers(aws: Aws) -> list[str]:
    """Return the hosts of the account's OIDC identity providers."""
    answer = await aws.call("iam", "list_open_id_connect_providers")
    found = (str(item["Arn"]) for item in answer["OpenIDConnectProviderList"])
    return [arn.partition(":oidc-provider/")[2] for arn in found]


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Services that may assume a role, and for which accounts; empty means any account."""

    services: frozenset[str]
    accounts: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Role:
    """One role, with the services that its trust policy allows and denies."""

    arn: str
    allowed: tuple[Trust, ...]
    denied: tuple[Trust, ...] = ()

    def trusts(self, service: str, account: str) -> bool:
        """Return whether a service may assume the role on behalf of an account."""

        def matches(trust: Trust) -> bool:
            in_account = not trust.accounts or account in trust.accounts
            return in_account and bool({service, "*"} & trust.services)

        return any(map(matches, self.allowed)) and not any(map(matches, self.denied))


async def role(aws: Aws, name: str) -> Role | None:
    """Return a role by its name (without path), None if it does not exist."""
    try:
        answer = await aws.call("iam", "get_role", RoleName=name)
    except AwsError as error:
        if error.code == "NoSuchEntity":
            return None
        raise
    found = answer["Role"]
    statements = _listed(found["AssumeRolePolicyDocument"].get("Statement"))
    return Role(
        arn=found["Arn"],
        allowed=tuple(_trust(item) for item in statements if _applies(item, "Allow")),
        denied=tuple(_trust(item) for item in statements if _applies(item, "Deny")),
    )


async def decisions(aws: Aws, role: str, actions: Iterable[str], resource: str) -> dict[str, str]:
    """Return what IAM decides for a role (by ARN), actions and a resource, such as `allowed`.

    IAM simulates the role's own policies; policies of the resource (ARN, or `*`) are not included.
    """
    results = await aws.pages(
        "iam",
        "simulate_principal_policy",
        "EvaluationResults",
        PolicySourceArn=role,
        ActionNames=list(actions),
        ResourceArns=[resource],
    )
    return {item["EvalActionName"]: item["EvalDecision"] for item in results}


async def denied_actions(aws: Aws, role: str, actions: Iterable[str], resource: str) -> list[str]:
    """Return which of these actions a role (by ARN) may not perform on a resource."""
    found = await decisions(aws, role, actions, resource)
    return [action for action, decision in found.items() if decision != "allowed"]


async def put_policy(aws: Aws, role: str, name: str, document: str) -> None:
    """Add a policy document to a role (by name), or replace it."""
    await aws.call(
        "iam", "put_role_policy", RoleName=role, PolicyName=name, PolicyDocument=document
    )


async def delete_policy(aws: Aws, role: str, name: str) -> None:
    """Remove a policy from a role (by name); no error if it has none of that name."""
    try:
        await aws.call("iam", "delete_role_policy", RoleName=role, PolicyName=name)
    except AwsError as error:
        if error.code != "NoSuchEntity":
            raise


async def has_policy(aws: Aws, role: str, name: str) -> bool:
    """Return whether a role (by name) has a policy of its own with this name."""
    try:
        await aws.call("iam", "get_role_policy", RoleName=role, PolicyName=name)
    except AwsError as error:
        if error.code == "NoSuchEntity":
            return False
        raise
    return True


def _applies(statement: Mapping[str, Any], effect: str) -> bool:
    actions = {str(action).lower() for action in _listed(statement.get("Action"))}
    return statement["Effect"] == effect and bool(actions & {"sts:assumerole", "sts:*", "*"})


def _trust(statement: Mapping[str, Any]) -> Trust:
    principal = statement.get("Principal", {})
    services = principal.get("Service") if isinstance(principal, Mapping) else principal
    condition = statement.get("Condition", {})
    # Condition keys are case-insensitive; StringLike also accepts an account without wildcards.
    tests = (condition.get(name, {}) for name in ("StringEquals", "StringLike"))
    accounts = (
        str(account)
        for test in tests
        for key, value in test.items()
        if key.lower() == "aws:sourceaccount"
        for account in _listed(value)
    )
    return Trust(services=frozenset(_listed(services)), accounts=frozenset(accounts))


def _listed(value: Any) -> list[Any]:
    """Return a list for a policy element, which may be a single value or a list."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
