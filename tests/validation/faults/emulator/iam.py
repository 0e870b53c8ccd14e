"""Faults of roles and policies that can be planted in the embedded AWS.

It stores and simulates policies, and does not enforce them: a role's faults are read, not felt.
"""

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from ci.release import ReleaseContext
from tests.validation.faults.fault import on_emulator

VERSION = "2012-10-17"
INLINE = "planted"  # the name of policies that faults add
ANYBODY = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
PROVIDER = "arn:aws:iam::000000000000:oidc-provider/token.actions.githubusercontent.com"
ANOTHER_ACCOUNT = "arn:aws:iam::999999999999:root"


def task_role(place: ReleaseContext, number: int = 0) -> str:
    """Return the name of the task role of the agent with this number; -1 is the last one."""
    agent = place.config.agents[number].name
    return place.outputs.task_roles[agent].rpartition("/")[2]


def execution_role(place: ReleaseContext) -> str:
    """Return the name of the task execution role."""
    return place.outputs.execution_role.rpartition("/")[2]


async def attached(place: ReleaseContext) -> list[str]:
    """Return the names of the managed policies of all roles of the environment."""
    roles = [*(task_role(place, i) for i in range(len(place.config.agents))), execution_role(place)]
    found = []
    for role in roles:
        answer = await place.aws.call("iam", "list_attached_role_policies", RoleName=role)
        found += [item["PolicyName"] for item in answer["AttachedPolicies"]]
    return found


async def inline(place: ReleaseContext) -> list[dict[str, Any]]:
    """Return the statements of the planted inline policies."""
    found: list[dict[str, Any]] = []
    for role in (task_role(place), task_role(place, -1), execution_role(place)):
        listed = await place.aws.call("iam", "list_role_policies", RoleName=role)
        for name in listed["PolicyNames"]:
            if name == INLINE:
                policy = await place.aws.call(
                    "iam", "get_role_policy", RoleName=role, PolicyName=name
                )
                found += _document(policy["PolicyDocument"])["Statement"]
    return found


async def roles(place: ReleaseContext) -> dict[str, dict[str, Any]]:
    """Return the trust policies of the account's roles, by the role's name."""
    found = await place.aws.pages("iam", "list_roles", "Roles")
    return {item["RoleName"]: _document(item["AssumeRolePolicyDocument"]) for item in found}


async def trust(place: ReleaseContext) -> str:
    """Return the trust policies of the last task role and of a deploy role, as JSON."""
    found = await roles(place)
    wanted = (task_role(place, -1), f"{place.env.prefix}-deploy")
    return json.dumps([found.get(role) for role in wanted], sort_keys=True)


def _document(policy: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(policy) if isinstance(policy, str) else policy
    return found


def _policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": VERSION, "Statement": statements})


async def _attached(place: ReleaseContext, role: str, name: str) -> AsyncIterator[None]:
    """Attach a policy that AWS manages."""
    arn = f"arn:aws:iam::aws:policy/{name}"
    await place.aws.call("iam", "attach_role_policy", RoleName=role, PolicyArn=arn)
    yield
    await place.aws.call("iam", "detach_role_policy", RoleName=role, PolicyArn=arn)


async def _allowed(place: ReleaseContext, role: str, **statement: Any) -> AsyncIterator[None]:
    """Add an inline policy of one statement."""
    named = partial(place.aws.call, "iam")
    document = _policy({"Effect": "Allow", **statement})
    await named("put_role_policy", RoleName=role, PolicyName=INLINE, PolicyDocument=document)
    yield
    await named("delete_role_policy", RoleName=role, PolicyName=INLINE)


async def _trusted(place: ReleaseContext, *more: dict[str, Any]) -> AsyncIterator[None]:
    """Add statements to the trust policy of the last agent's task role."""
    role = task_role(place, -1)
    answer = await place.aws.call("iam", "get_role", RoleName=role)
    before = _document(answer["Role"]["AssumeRolePolicyDocument"])
    document = _policy(*before["Statement"], *more)
    update = partial(place.aws.call, "iam", "update_assume_role_policy", RoleName=role)
    await update(PolicyDocument=document)
    yield
    await update(PolicyDocument=json.dumps(before))


async def _deploy_role(place: ReleaseContext, conditions: dict[str, Any]) -> AsyncIterator[None]:
    """Give the deploy role, which is created if it is missing, these conditions of its trust."""
    iam, role = partial(place.aws.call, "iam"), f"{place.env.prefix}-deploy"
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": PROVIDER},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": conditions,
    }
    before = (await roles(place)).get(role)
    if before is None:
        await iam("create_role", RoleName=role, AssumeRolePolicyDocument=_policy(statement))
        yield
        await iam("delete_role", RoleName=role)
        return
    update = partial(iam, "update_assume_role_policy", RoleName=role)
    await update(PolicyDocument=_policy(statement))
    yield
    await update(PolicyDocument=json.dumps(before))


AUD = {"token.actions.githubusercontent.com:aud": "sts.amazonaws.com"}
SUB = "token.actions.githubusercontent.com:sub"


@on_emulator(
    "iam.attached-policies",
    wrong="The task role of the last agent has AdministratorAccess.",
    read=attached,
    shows=lambda names: "AdministratorAccess" in names,
)
async def administrator_on_the_last_task_role(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in _attached(place, task_role(place, -1), "AdministratorAccess"):
        yield


@on_emulator(
    "iam.attached-policies",
    wrong="The execution role has PowerUserAccess.",
    read=attached,
    shows=lambda names: "PowerUserAccess" in names,
)
async def power_user_on_the_execution_role(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in _attached(place, execution_role(place), "PowerUserAccess"):
        yield


@on_emulator(
    "iam.attached-policies",
    wrong="A task role has a FullAccess policy of a single service, next to its own policies.",
    read=attached,
    shows=lambda names: "AmazonDynamoDBFullAccess" in names,
)
async def full_access_of_one_service(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in _attached(place, task_role(place), "AmazonDynamoDBFullAccess"):
        yield


@on_emulator(
    "iam.inline-wildcards",
    "iam.simulate",
    wrong="An inline policy allows all actions but IAM's (NotAction) on every resource.",
    read=inline,
    shows=lambda found: any("NotAction" in item for item in found),
)
async def inline_not_action(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in _allowed(place, task_role(place, -1), NotAction="iam:*", Resource="*"):
        yield


@on_emulator(
    "iam.inline-wildcards",
    wrong="An inline policy allows all of DynamoDB on one table, in capitals and in a list.",
    read=inline,
    shows=lambda found: any("DynamoDB:*" in item.get("Action", ()) for item in found),
)
async def inline_whole_service(place: ReleaseContext) -> AsyncIterator[None]:
    table = f"arn:aws:dynamodb:us-east-1:000000000000:table/{place.outputs.state_table}"
    actions = ["dynamodb:DescribeTable", "DynamoDB:*"]
    async for _ in _allowed(place, task_role(place), Action=actions, Resource=table):
        yield


@on_emulator(
    "iam.inline-wildcards",
    wrong="An inline policy allows a write action on resource *: deleting any table.",
    read=inline,
    shows=lambda found: any(item.get("Action") == "dynamodb:DeleteTable" for item in found),
)
async def inline_write_on_everything(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in _allowed(place, task_role(place), Action="dynamodb:DeleteTable", Resource=["*"]):
        yield


@on_emulator(
    "iam.inline-wildcards",
    "iam.simulate",
    wrong="An action with a wildcard in its name (iam:Put*) lets a role give itself rights.",
    read=inline,
    shows=lambda found: any(item.get("Action") == ["iam:Put*"] for item in found),
)
async def inline_partial_wildcard(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in _allowed(place, task_role(place, -1), Action=["iam:Put*"], Resource="*"):
        yield


async def _managed(place: ReleaseContext) -> list[str]:
    answer = await place.aws.call("iam", "list_policies", Scope="Local")
    return [f"{item['PolicyName']} {item['DefaultVersionId']}" for item in answer["Policies"]]


@on_emulator(
    "iam.inline-wildcards",
    wrong="The first version of a customer-managed policy is harmless, its default allows *.",
    read=_managed,
    shows=lambda names: "planted v2" in names,
)
async def managed_second_version(place: ReleaseContext) -> AsyncIterator[None]:
    iam, role = partial(place.aws.call, "iam"), task_role(place)
    harmless = _policy({"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"})
    everything = _policy({"Effect": "Allow", "Action": "*", "Resource": "*"})
    created = await iam("create_policy", PolicyName=INLINE, PolicyDocument=harmless)
    arn = created["Policy"]["Arn"]
    await iam("create_policy_version", PolicyArn=arn, PolicyDocument=everything, SetAsDefault=True)
    await iam("attach_role_policy", RoleName=role, PolicyArn=arn)
    yield
    await iam("detach_role_policy", RoleName=role, PolicyArn=arn)
    await iam("delete_policy_version", PolicyArn=arn, VersionId="v1")
    await iam("delete_policy", PolicyArn=arn)


@on_emulator(
    "iam.pass-role",
    "iam.inline-wildcards",
    wrong="A role may pass every role of the account, also to ECS.",
    read=inline,
    shows=lambda found: any(item.get("Resource") == "*" for item in found),
)
async def pass_every_role(place: ReleaseContext) -> AsyncIterator[None]:
    condition = {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
    async for _ in _allowed(
        place, task_role(place), Action="iam:PassRole", Resource="*", Condition=condition
    ):
        yield


@on_emulator(
    "iam.pass-role",
    wrong="A role may pass the execution role to any service: no iam:PassedToService.",
    read=inline,
    shows=lambda found: any(item.get("Action") == "iam:PassRole" for item in found),
)
async def pass_role_to_any_service(place: ReleaseContext) -> AsyncIterator[None]:
    role = place.outputs.execution_role
    async for _ in _allowed(place, task_role(place), Action="iam:PassRole", Resource=role):
        yield


@on_emulator(
    "iam.trust",
    wrong="Anybody in any account may assume a task role.",
    read=trust,
    shows=lambda found: '"AWS": "*"' in found,
)
async def trust_anybody(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in _trusted(place, ANYBODY):
        yield


@on_emulator(
    "iam.trust",
    wrong="A task role trusts another account, beside ECS.",
    read=trust,
    shows=lambda found: ANOTHER_ACCOUNT in found,
)
async def trust_another_account(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in _trusted(place, ANYBODY | {"Principal": {"AWS": [ANOTHER_ACCOUNT]}}):
        yield


@on_emulator(
    "iam.trust",
    wrong="The deploy role trusts every token of GitHub: aud is checked, sub is not.",
    read=trust,
    shows=lambda found: "oidc-provider" in found and SUB not in found,
)
async def oidc_without_sub(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in _deploy_role(place, {"StringEquals": AUD}):
        yield


@on_emulator(
    "iam.trust",
    wrong="The deploy role trusts every repository of GitHub: sub is compared with repo:*.",
    read=trust,
    shows=lambda found: '"repo:*"' in found,
)
async def oidc_of_any_repository(place: ReleaseContext) -> AsyncIterator[None]:
    conditions = {"StringEquals": AUD, "StringLike": {SUB: ["repo:*"]}}
    async for _ in _deploy_role(place, conditions):
        yield


@on_emulator(
    "integration.task-role",
    "iam.simulate",
    wrong="A task role may read every secret of the account.",
    read=inline,
    shows=lambda found: any("secretsmanager:GetSecretValue" in str(item) for item in found),
)
async def task_reads_every_secret(place: ReleaseContext) -> AsyncIterator[None]:
    action = "secretsmanager:GetSecretValue"
    async for _ in _allowed(place, task_role(place, -1), Action=action, Resource="*"):
        yield


@on_emulator(
    "integration.task-role",
    wrong="A task role may write the release records of its environment.",
    read=inline,
    shows=lambda found: any("-releases" in str(item.get("Resource")) for item in found),
)
async def task_writes_release_records(place: ReleaseContext) -> AsyncIterator[None]:
    table = f"arn:aws:dynamodb:us-east-1:000000000000:table/{place.outputs.releases_table}"
    actions = ["dynamodb:PutItem", "dynamodb:UpdateItem"]
    async for _ in _allowed(place, task_role(place), Action=actions, Resource=table):
        yield


@on_emulator(
    wrong="Harmless: resource * for an action that has no narrower resource (a registry's login).",
    read=inline,
    shows=lambda found: any("ecr:GetAuthorizationToken" in str(item) for item in found),
)
async def harmless_login_on_everything(place: ReleaseContext) -> AsyncIterator[None]:
    action = "ecr:GetAuthorizationToken"
    async for _ in _allowed(place, execution_role(place), Action=[action], Resource="*"):
        yield


@on_emulator(
    wrong="Harmless: a statement that denies every action on every resource of other regions.",
    read=inline,
    shows=lambda found: any(item["Effect"] == "Deny" for item in found),
)
async def harmless_deny_of_everything(place: ReleaseContext) -> AsyncIterator[None]:
    region = {"StringNotEquals": {"aws:RequestedRegion": place.env.region}}
    async for _ in _allowed(
        place, task_role(place), Effect="Deny", Action="*", Resource="*", Condition=region
    ):
        yield


@on_emulator(
    wrong="Harmless: a role of another system of the account has AdministratorAccess.",
    read=roles,
    shows=lambda found: "platform-admin" in found,
)
async def harmless_administrator_of_others(place: ReleaseContext) -> AsyncIterator[None]:
    iam, role = partial(place.aws.call, "iam"), "platform-admin"
    trusted = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}}
    document = _policy({**trusted, "Action": "sts:AssumeRole"})
    await iam("create_role", RoleName=role, AssumeRolePolicyDocument=document)
    async for _ in _attached(place, role, "AdministratorAccess"):
        yield
    await iam("delete_role", RoleName=role)
