"""AWS IAM: what the roles of an account may do, read with one call for all of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ci.aws.session import Aws

Document = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Role:
    """One role: who may assume it, and its policies.

    Attributes:
        name: without path.
        arn: of the role.
        trust: the policy that says who may assume it.
        policies: its inline and customer-managed policies, by name.
        attached: names of all managed policies attached to it.
        unread: names of customer-managed policies whose content IAM did not return.
    """

    name: str
    arn: str
    trust: Document
    policies: Mapping[str, Document]
    attached: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement of a policy, its values as lists; `other` are the negated elements it has."""

    role: str
    policy: str
    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    condition: Document
    principals: tuple[tuple[str, str], ...] = ()  # type (`Service`, `AWS`, ...) and value
    negated: tuple[str, ...] = ()  # `NotAction`, `NotResource`, `NotPrincipal`


async def roles(aws: Aws) -> list[Role]:
    """Return all roles of the account with their policies."""
    found = await aws.pages(
        "iam", "get_account_authorization_details", "RoleDetailList", Filter=["Role"]
    )
    managed = await aws.pages(
        "iam", "get_account_authorization_details", "Policies", Filter=["LocalManagedPolicy"]
    )
    documents = {item["Arn"]: _default(item) for item in managed}
    return [_role(item, documents) for item in found]


def statements(role: Role) -> list[Statement]:
    """Return the statements of a role's policies."""
    return [
        statement
        for name, document in role.policies.items()
        for statement in _statements(role.name, name, document)
    ]


def trust_statements(role: Role) -> list[Statement]:
    """Return the statements that say who may assume a role."""
    return _statements(role.name, "trust policy", role.trust)


def _role(item: Mapping[str, Any], documents: Mapping[str, Document]) -> Role:
    attached = item.get("AttachedManagedPolicies", ())
    own = [policy for policy in attached if ":aws:policy/" not in policy["PolicyArn"]]
    inline = {policy["PolicyName"]: policy["PolicyDocument"] for policy in item["RolePolicyList"]}
    read = {p["PolicyName"]: documents[p["PolicyArn"]] for p in own if p["PolicyArn"] in documents}
    return Role(
        name=item["RoleName"],
        arn=item["Arn"],
        trust=item["AssumeRolePolicyDocument"],
        policies=inline | read,
        attached=tuple(policy["PolicyName"] for policy in attached),
        unread=tuple(p["PolicyName"] for p in own if p["PolicyArn"] not in documents),
    )


def _default(policy: Mapping[str, Any]) -> Document:
    """Return the version of a managed policy that is in force."""
    versions: Sequence[Mapping[str, Any]] = policy.get("PolicyVersionList", ())
    found: Document = next(v["Document"] for v in versions if v.get("IsDefaultVersion"))
    return found


def _statements(role: str, policy: str, document: Document) -> list[Statement]:
    return [
        Statement(
            role=role,
            policy=policy,
            effect=item["Effect"],
            actions=tuple(str(action) for action in _listed(item.get("Action"))),
            resources=tuple(str(resource) for resource in _listed(item.get("Resource"))),
            condition=item.get("Condition") or {},
            principals=tuple(_principals(item.get("Principal"))),
            negated=tuple(key for key in item if key.startswith("Not")),
        )
        for item in _listed(document.get("Statement"))
    ]


def _principals(value: Any) -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [(kind, str(name)) for kind, names in value.items() for name in _listed(names)]
    return [("*", str(name)) for name in _listed(value)]


def _listed(value: Any) -> list[Any]:
    """Return a list for a policy element, which may be a single value or a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
