"""What the roles of an environment may do, and who may assume them."""

import json
from collections.abc import Sequence

from ci.aws import iam
from ci.aws.audit import analyzer, roles
from ci.aws.audit.roles import Role
from ci.common.concurrency import parallel
from validation import environment
from validation.model import (
    Check,
    CheckContext,
    Evidence,
    Finding,
    Severity,
    UnreadableError,
    judged,
)
from validation.production import policies
from validation.production.inventory import expected, inventory, own

ROLE = "AWS::IAM::Role"
#: What no agent's code has to do, whatever it works on.
DANGEROUS = (
    "cloudformation:DeleteStack",
    "dynamodb:DeleteTable",
    "dynamodb:Scan",
    "ec2:AuthorizeSecurityGroupIngress",
    "ecs:RunTask",
    "ecs:UpdateService",
    "iam:AttachRolePolicy",
    "iam:CreateAccessKey",
    "iam:CreateRole",
    "iam:PassRole",
    "iam:PutRolePolicy",
    "kms:PutKeyPolicy",
    "kms:ScheduleKeyDeletion",
    "lambda:CreateFunction",
    "logs:DeleteLogGroup",
    "s3:DeleteBucket",
    "s3:GetObject",
    "secretsmanager:GetSecretValue",
    "secretsmanager:PutSecretValue",
    "sts:AssumeRole",
)
BLOCKING = ("ERROR", "SECURITY_WARNING")


async def environment_roles(context: CheckContext) -> tuple[list[Role], Evidence]:
    """Return the roles of the environment, and how many of those that it should have exist.

    Those of its stack, those with its name, and those that its tasks run with.
    """
    return await context.reads.get("roles", lambda: _roles(context))


async def _roles(context: CheckContext) -> tuple[list[Role], Evidence]:
    listed = (await inventory(context)).of(ROLE)
    used = await _used(context)
    if len((await environment.running(context)).definitions) < len(context.config.agents):
        raise UnreadableError("the roles of the tasks are unknown: not every service runs")
    known = await roles.roles(context.aws)
    found = [role for role in known if role.name in listed | used or own(context, role.name)]
    return found, expected([role.name for role in found], listed | used, "roles")


async def _used(context: CheckContext) -> set[str]:
    """Return the names of the roles that the tasks run with."""
    definitions = (await environment.running(context)).definitions.values()
    contents = [json.loads(item.content) for item in definitions]
    arns = [item.get(key) for item in contents for key in ("taskRoleArn", "executionRoleArn")]
    return {arn.rpartition("/")[2] for arn in arns if arn}


async def task_roles(context: CheckContext) -> list[Role]:
    """Return the roles whose rights the agents' code has."""
    return [role for role in (await environment_roles(context))[0] if _of_tasks(role)]


def _of_tasks(role: Role) -> bool:
    return role.name.endswith("-task")


async def attached_policies(context: CheckContext) -> Finding:
    """Check that no role has a broad policy of AWS attached."""
    found, evidence = await environment_roles(context)
    problems = [
        f"{role.name} has {name}"
        for role in found
        for name in role.attached
        if policies.BROAD.search(name)
    ]
    attached = sum(len(role.attached) for role in found)
    return judged(
        problems,
        evidence,
        observed=f"{len(found)} roles have {attached} managed policies, none of them broad",
        expected="no policy of administrators, power users, or for the whole of a service",
    )


async def inline_wildcards(context: CheckContext) -> Finding:
    """Check that no policy allows all actions, or changes of every resource."""
    found, evidence = await environment_roles(context)
    statements = [statement for role in found for statement in roles.statements(role)]
    problems = [text for item in statements for text in policies.wildcards(item)]
    return judged(
        problems,
        evidence,
        _content(found),
        Evidence("statements", len(statements), len(statements)),
        observed=f"{len(statements)} statements name their actions and resources",
        expected="no `*` or `service:*`, and nothing that changes every resource",
    )


def _content(found: Sequence[Role]) -> Evidence:
    """Return how many of the policies of roles could be read."""
    read = sum(len(role.policies) for role in found)
    return Evidence("policies", read, read + sum(len(role.unread) for role in found))


async def pass_role(context: CheckContext) -> Finding:
    """Check that roles of the environment alone can be passed, to named services."""
    found, evidence = await environment_roles(context)
    statements = [statement for role in found for statement in roles.statements(role)]
    prefix = f"{context.env.prefix}-"
    problems = [text for item in statements for text in policies.passing(item, prefix)]
    return judged(
        problems,
        evidence,
        _content(found),
        Evidence("statements", len(statements), len(statements)),
        observed=f"{len(statements)} statements pass no other role than the environment's",
        expected=f"iam:PassRole of {prefix}* only, with iam:PassedToService",
    )


async def trust(context: CheckContext) -> Finding:
    """Check that each role trusts only whom it needs."""
    found, evidence = await environment_roles(context)
    used = await _used(context)
    problems, statements = [], 0
    for role in found:
        tasks = _of_tasks(role) or role.name in used
        for statement in roles.trust_statements(role):
            statements += 1
            service = policies.ECS_TASKS if tasks else ""
            problems += policies.trusting(statement, role, service=service)
    return judged(
        problems,
        evidence,
        Evidence("trust statements", statements, max(statements, len(found))),
        observed=f"{len(found)} roles trust ECS's tasks of this account, or named identities",
        expected="one service or exact identities, never everybody",
    )


async def simulate(context: CheckContext) -> Finding:
    """Check that IAM denies the agents what no agent has to do."""
    listed = [name for name in (await inventory(context)).of(ROLE) if name.endswith("-task")]
    tested = await task_roles(context)

    async def one(role: Role) -> dict[str, str]:
        return await iam.decisions(context.aws, role.arn, DANGEROUS, "*")

    decided = await parallel(one, tested)
    problems = [
        f"{role.name} may do {action} on everything"
        for role, found in zip(tested, decided, strict=True)
        for action, decision in sorted(found.items())
        if decision == "allowed"
    ]
    wanted = max(len(listed), len(tested)) * len(DANGEROUS)
    return judged(
        problems,
        expected([role.name for role in tested], listed, "task roles"),
        Evidence("decisions", sum(map(len, decided)), wanted),
        observed=f"IAM denies {len(DANGEROUS)} actions to each of {len(tested)} task roles",
        expected="denied",
    )


async def access_analyzer(context: CheckContext) -> Finding:
    """Check that Access Analyzer finds no error or risk in any policy."""
    if (await inventory(context)).embedded:
        raise UnreadableError("the embedded AWS has no Access Analyzer")
    found, evidence = await environment_roles(context)
    documents = {
        (json.dumps(document, sort_keys=True), trusted): f"{role.name}, {name}"
        for role in found
        for trusted, named in ((False, role.policies), (True, {"trust policy": role.trust}))
        for name, document in named.items()
    }

    async def one(item: tuple[str, bool]) -> list[analyzer.Issue]:
        return await analyzer.issues(context.aws, json.loads(item[0]), trust=item[1])

    issues = await parallel(one, documents)
    problems = [
        f"{where}: {issue.code} ({issue.details})"
        for where, group in zip(documents.values(), issues, strict=True)
        for issue in group
        if issue.kind in BLOCKING
    ]
    return judged(
        problems,
        evidence,
        _content(found),
        Evidence("different policies", len(issues), len(documents)),
        observed=f"no error or security warning in {len(documents)} policies",
        expected=f"no {' or '.join(BLOCKING)}",
    )


DETAILS = "iam:GetAccountAuthorizationDetails"
CHECKS = (
    Check(
        id="iam.attached-policies",
        title="no role has a broad policy of AWS",
        run=attached_policies,
        severity=Severity.CRITICAL,
        reads=(DETAILS,),
        why="whoever takes over one task could then change the whole account",
        remedy="detach it, and allow the actions needed in ci/infra/environment.yaml",
        controls=("CIS 1.16", "FSBP IAM.1"),
    ),
    Check(
        id="iam.inline-wildcards",
        title="policies name actions and resources",
        run=inline_wildcards,
        severity=Severity.CRITICAL,
        reads=(DETAILS,),
        why="a wildcard allows what nobody thought of, in services that do not exist yet",
        remedy="name the actions, and the ARNs of the environment's own resources",
        controls=("FSBP IAM.1", "FSBP IAM.21"),
    ),
    Check(
        id="iam.pass-role",
        title="only the environment's roles can be passed",
        run=pass_role,
        severity=Severity.CRITICAL,
        reads=(DETAILS,),
        why="who may pass any role to a task has the rights of all of them",
        remedy="name the roles, and the service in the condition iam:PassedToService",
    ),
    Check(
        id="iam.trust",
        title="roles trust only whom they need",
        run=trust,
        severity=Severity.CRITICAL,
        reads=(DETAILS,),
        why="whoever is trusted has all rights of the role",
        remedy="name one service with aws:SourceAccount, or the exact subject and audience",
    ),
    Check(
        id="iam.simulate",
        title="agents cannot do dangerous things",
        run=simulate,
        severity=Severity.CRITICAL,
        reads=(DETAILS, "iam:SimulatePrincipalPolicy"),
        why="policies together may allow what none of them seems to",
        remedy="./acso plan shows what the template would change; remove what was added by hand",
    ),
    Check(
        id="iam.access-analyzer",
        title="Access Analyzer finds no risk",
        run=access_analyzer,
        severity=Severity.HIGH,
        reads=(DETAILS, "access-analyzer:ValidatePolicy"),
        why="AWS knows mistakes of policies that no rule of ours does",
        remedy="the finding's code is explained in IAM's reference of policy checks",
    ),
)
