"""AWS IAM: whom the account trusts to tell who somebody is, and what its roles trust and may."""

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
    """Services that may assume a role, and for whose accounts; none listed means any account's."""

    services: frozenset[str]
    accounts: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Role:
    """One role, and which services it lets in and keeps out."""

    arn: str
    allowed: tuple[Trust, ...]
    denied: tuple[Trust, ...] = ()

    def trusts(self, service: str, account: str) -> bool:
        """Return whether a service may assume the role on behalf of an account."""

        def meets(trust: Trust) -> bool:
            mine = not trust.accounts or account in trust.accounts
            return mine and bool({service, "*"} & trust.services)

        return any(map(meets, self.allowed)) and not any(map(meets, self.denied))


async def role(aws: Aws, name: str) -> Role | None:
    """Return a role by its name (without path), None if there is none."""
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
        allowed=tuple(_trust(item) for item in statements if _lets(item, "Allow")),
        denied=tuple(_trust(item) for item in statements if _lets(item, "Deny")),
    )


async def denied_actions(aws: Aws, role: str, actions: Iterable[str], resource: str) -> list[str]:
    """Return which of these actions a role (by ARN) may not do to a resource (by ARN, or `*`).

    IAM works it out from the role's own policies; those of the resource are not looked at.
    """
    results = await aws.pages(
        "iam",
        "simulate_principal_policy",
        "EvaluationResults",
        PolicySourceArn=role,
        ActionNames=list(actions),
        ResourceArns=[resource],
    )
    return [item["EvalActionName"] for item in results if item["EvalDecision"] != "allowed"]


def _lets(statement: Mapping[str, Any], effect: str) -> bool:
    actions = {str(action).lower() for action in _listed(statement.get("Action"))}
    return statement["Effect"] == effect and bool(actions & {"sts:assumerole", "sts:*", "*"})


def _trust(statement: Mapping[str, Any]) -> Trust:
    principal = statement.get("Principal", {})
    services = principal.get("Service") if isinstance(principal, Mapping) else principal
    condition = statement.get("Condition", {})
    # The names of condition keys are taken in any case; "Like" takes an account as it stands too.
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
    """Return what policies give as one thing or a list of them as a list."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
