"""What breaks each check: a change of the account, and what the check then says of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.unit.validation.production.names import NUMBER, PREFIX, policy, statement
from tests.unit.validation.production.wire import Account, Answer

Damage = Callable[[Account], Any]


@dataclass(frozen=True)
class Break:
    """One damage: the check that finds it, what it is in words, and what the check observes.

    `settings` are changes of the environment in acso.toml that the damage needs.
    """

    check: str
    what: str
    damage: Damage
    observed: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def role(account: Account, name: str) -> Answer:
    """Return a role of the account."""
    found: list[Answer] = account["iam.GetAccountAuthorizationDetails"]["RoleDetailList"]
    return next(item for item in found if item["RoleName"] == name)


TASK = f"{PREFIX}-supervisor-task"


def allow(name: str, added: Answer) -> Damage:
    """Add a statement to a role's policy."""

    def damage(account: Account) -> None:
        role(account, name)["RolePolicyList"][0]["PolicyDocument"]["Statement"].append(added)

    return damage


def trusted(name: str, **changes: Any) -> Damage:
    """Change who may assume a role."""
    return lambda account: role(account, name)["AssumeRolePolicyDocument"]["Statement"][0].update(
        changes
    )


def attach(name: str, arn: str) -> Damage:
    """Attach a managed policy to a role."""

    def damage(account: Account) -> None:
        attached = {"PolicyName": arn.rpartition("/")[2], "PolicyArn": arn}
        role(account, name)["AttachedManagedPolicies"].append(attached)

    return damage


def managed(account: Account) -> None:
    """Attach a policy of one's own that allows everything."""
    arn = f"arn:aws:iam::{NUMBER}:policy/everything"
    attach(TASK, arn)(account)
    version = {"IsDefaultVersion": True, "Document": policy(statement("*", "*"))}
    account["iam.GetAccountAuthorizationDetails"]["Policies"].append(
        {"Arn": arn, "PolicyVersionList": [version]}
    )


def at(key: str, *path: Any, **changes: Any) -> Damage:
    """Change a value inside an answer, by the path to it."""

    def damage(account: Account) -> None:
        found: Any = account[key]
        for step in path:
            found = found[step]
        found.update(changes)

    return damage


def without(key: str, *path: Any) -> Damage:
    """Remove a value inside an answer, by the path to it."""

    def damage(account: Account) -> None:
        found: Any = account[key]
        for step in path[:-1]:
            found = found[step]
        del found[path[-1]]

    return damage


def gone(key: str) -> Damage:
    """Remove a resource."""
    return lambda account: account.answers.pop(key)


def measured(figure: str, *values: float) -> Damage:
    """Set the measured values of the first agent."""
    results = "cloudwatch.GetMetricData"

    def damage(account: Account) -> None:
        found: list[Answer] = account[results]["MetricDataResults"]
        next(item for item in found if item["Id"] == f"{figure}0")["Values"] = list(values)

    return damage


def opened(number: int, **rule: Any) -> Damage:
    """Add a rule to a security group."""
    return lambda account: account["ec2.DescribeSecurityGroups"]["SecurityGroups"][number][
        "IpPermissions"
    ].append(rule)


def stray_group(account: Account) -> None:
    """Add a security group by hand."""
    rule = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    account["ec2.DescribeSecurityGroups"]["SecurityGroups"].append(
        {"GroupId": "sg-9", "GroupName": "by-hand", "IpPermissions": [rule]}
    )


def stray_table(account: Account) -> None:
    """Add a table by hand."""
    account["dynamodb.ListTables"]["TableNames"].append(f"{PREFIX}-extra")
    table = {"TableName": f"{PREFIX}-extra", "TableStatus": "ACTIVE"}
    account.answers[f"dynamodb.DescribeTable {PREFIX}-extra"] = {"Table": table}


def one_zone(account: Account) -> None:
    """Run all tasks in one zone."""
    for task in account["ecs.DescribeTasks"]["tasks"]:
        task["availabilityZone"] = "us-east-1a"
