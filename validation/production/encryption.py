"""Whether an environment's data is encrypted at rest, with a key that exists."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ci.aws.audit import buckets, keys, logs, repositories, secrets, tables, topics
from ci.aws.session import Aws
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
from validation.production.inventory import expected, inventory, own

BUCKET, TABLE, TOPIC = "AWS::S3::Bucket", "AWS::DynamoDB::Table", "AWS::SNS::Topic"
SECRET, GROUP = "AWS::SecretsManager::Secret", "AWS::Logs::LogGroup"
#: The bucket of the load balancer's logs: ELB writes to no bucket with a KMS key as its default.
#: Source: Elastic Load Balancing User Guide, "Enable access logs for your ALB".
ACCESS_LOGS = "AccessLogBucket"


async def log_groups(context: CheckContext) -> tuple[list[logs.Group], Evidence]:
    """Return the log groups of the environment, and how many of its stack's were found."""
    return await context.reads.get("log groups", lambda: _log_groups(context))


async def _log_groups(context: CheckContext) -> tuple[list[logs.Group], Evidence]:
    listed = (await inventory(context)).of(GROUP)
    found = await logs.groups(context.aws, f"/aws/acso/{context.env.name}/")
    return found, expected([group.name for group in found], listed, "log groups")


async def all_tables(context: CheckContext) -> list[str]:
    """Return the names of the environment's tables.

    Raises:
        UnreadableError: AWS lists fewer than the stack has.
    """
    return await context.reads.get("tables", lambda: _tables(context))


async def _tables(context: CheckContext) -> list[str]:
    listed = (await inventory(context)).of(TABLE)
    return sorted(listed | set(await _listed(context, tables.names, listed)))


async def _listed(
    context: CheckContext, names: Callable[[Aws], Awaitable[list[str]]], listed: frozenset[str]
) -> list[str]:
    """Return the names of the environment of all that AWS lists, which must include its stack's."""
    every = await names(context.aws)
    if missing := listed - set(every):
        raise UnreadableError(f"AWS does not list {', '.join(sorted(missing))}")
    return [name for name in every if own(context, name.rpartition(":")[2])]


async def environment_key(context: CheckContext) -> keys.Key | None:
    """Return the environment's key, None if it does not exist."""
    arn = await environment.output(context, "KeyArn")
    return await context.reads.get("key", lambda: keys.key(context.aws, arn))


async def wrong_key(context: CheckContext, key: str) -> str:
    """Return what is wrong with the key of a resource; empty if it is the environment's."""
    if not key:
        return "no KMS key"
    arn = await environment.output(context, "KeyArn")
    alias = f"alias/{context.env.prefix}-key"
    same = key in (arn, arn.rpartition("/")[2], alias) or key.endswith(f":{alias}")
    return "" if same else f"another key than the environment's ({key})"


async def logs_encrypted(context: CheckContext) -> Finding:
    """Check that the log groups are encrypted, with a key that is enabled."""
    found, evidence = await log_groups(context)
    problems = []
    for group in found:
        wrong = await wrong_key(context, group.key)
        problems += [f"{group.name} has {wrong}"] * bool(wrong)
    key = await environment_key(context)
    state = key.state if key else "missing"
    problems += [f"the key is {state}"] * (state != "Enabled")
    return judged(
        problems,
        evidence,
        Evidence("keys", int(key is not None), 1),
        observed=f"{len(found)} log groups are encrypted with the environment's key",
        expected="the environment's KMS key, enabled",
    )


async def buckets_encrypted(context: CheckContext) -> Finding:
    """Check that buckets are encrypted, closed to the public, and reached by TLS only."""
    stack = await inventory(context)
    listed = stack.of(BUCKET)
    names = sorted(listed | set(await _listed(context, buckets.names, listed)))
    plain = {item.id for item in stack.resources if item.logical_id == ACCESS_LOGS}
    found = await parallel(lambda name: buckets.bucket(context.aws, name), names)
    problems = [
        f"{bucket.name} {text}"
        for bucket in found
        for text in bucket_problems(bucket, plain=bucket.name in plain)
    ]
    return judged(
        problems,
        stack.evidence,
        Evidence("buckets", len(found), len(names)),
        observed=f"{len(found)} buckets are encrypted and closed",
        expected="default encryption, no public access, TLS only",
    )


def bucket_problems(bucket: buckets.Bucket, *, plain: bool) -> list[str]:
    """Return what is wrong with a bucket; `plain`: it needs no KMS key. Pure."""
    problems = []
    if not bucket.algorithm:
        problems.append("has no default encryption")
    elif not plain and not bucket.algorithm.startswith("aws:kms"):
        problems.append(f"is encrypted with {bucket.algorithm}, not with a KMS key")
    if open_ := [block for block in buckets.BLOCKS if block not in bucket.blocked]:
        problems.append(f"may be public ({', '.join(open_)} off)")
    if not tls_only(bucket.policy):
        problems.append("is reached without TLS")
    return problems


def tls_only(policy: Mapping[str, Any]) -> bool:
    """Return whether a bucket's policy denies requests without TLS; pure."""
    return any(
        item.get("Effect") == "Deny"
        and item.get("Principal") in ("*", {"AWS": "*"})
        and item.get("Action") in ("s3:*", ["s3:*"], "*")
        and str(item.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")).lower()
        == "false"
        for item in policy.get("Statement", [])
    )


async def tables_encrypted(context: CheckContext) -> Finding:
    """Check that tables are encrypted with a KMS key."""
    names = await all_tables(context)
    found = await parallel(lambda name: tables.table(context.aws, name), names)
    listed = (await inventory(context)).of(TABLE)
    problems = []
    for name, table in zip(names, found, strict=True):
        wrong = "gone" if table is None else await _wrong(context, table.key, name in listed)
        problems += [f"{name}: {wrong}"] * bool(wrong)
    return judged(
        problems,
        Evidence("tables", len([t for t in found if t]), len(names)),
        observed=f"{len(names)} tables are encrypted with a KMS key",
        expected="a KMS key; of the stack's, the environment's",
    )


async def _wrong(context: CheckContext, key: str, ours: bool) -> str:
    """Return what is wrong with a key; a resource that the stack does not list may have any."""
    return await wrong_key(context, key) if ours or not key else ""


async def repositories_safe(context: CheckContext) -> Finding:
    """Check that images are encrypted, scanned, and that their tags cannot move."""
    names = [agent.repository for agent in context.config.agents]
    found = await repositories.repositories(context.aws, names)
    problems = [f"{name} {text}" for name, item in sorted(found.items()) for text in _unsafe(item)]
    return judged(
        problems,
        Evidence("repositories", len(found), len(names)),
        observed=f"{len(found)} repositories are encrypted, scanned on push and immutable",
        expected="KMS, scan on push, immutable tags",
    )


def _unsafe(item: repositories.Repository) -> list[str]:
    return [
        *["is not encrypted with KMS"] * (not item.encryption.startswith("KMS")),
        *["is not scanned on push"] * (not item.scanned),
        *["has tags that can be moved"] * (not item.immutable),
    ]


async def topics_encrypted(context: CheckContext) -> Finding:
    """Check that topics are encrypted with a KMS key."""
    listed = (await inventory(context)).of(TOPIC)
    arns = sorted(listed | set(await _listed(context, topics.names, listed)))
    found = await parallel(lambda arn: topics.key(context.aws, arn), arns)
    problems = []
    for arn, key in zip(arns, found, strict=True):
        wrong = "gone" if key is None else await _wrong(context, key, arn in listed)
        problems += [f"{arn.rpartition(':')[2]}: {wrong}"] * bool(wrong)
    return judged(
        problems,
        Evidence("topics", len([key for key in found if key is not None]), len(arns)),
        observed=f"{len(arns)} topics are encrypted with a KMS key",
        expected="a KMS key; of the stack's, the environment's",
    )


async def secrets_encrypted(context: CheckContext) -> Finding:
    """Check that secrets are encrypted with the environment's key."""
    listed = (await inventory(context)).of(SECRET)
    every = await secrets.secrets(context.aws)
    ours = [item for item in every if {item.arn, item.name} & listed or own(context, item.name)]
    problems = []
    for secret in ours:
        wrong = await wrong_key(context, secret.key)
        problems += [f"{secret.name} has {wrong}"] * bool(wrong)
    known = [name for item in ours for name in (item.arn, item.name)]
    missing = set(listed) - set(known)
    return judged(
        problems,
        Evidence("secrets", len(ours), len(ours) + len(missing)),
        observed=f"{len(ours)} secrets are encrypted with the environment's key",
        expected="the environment's KMS key",
    )


async def keys_usable(context: CheckContext) -> Finding:
    """Check that the environment's key is enabled, stays, and is rotated."""
    key = await environment_key(context)
    if key is None:
        observed = "the environment's key does not exist"
        return judged([observed], Evidence("keys", 0, 1), observed=observed, expected="it exists")
    name = f"alias/{context.env.prefix}-key"
    alias = await keys.key(context.aws, name)
    problems = [f"the key is {key.state}"] * (key.state != "Enabled")
    problems += ["the key is not rotated"] * (key.rotates is False)
    problems += [f"{name} is another key"] * (alias is None or alias.arn != key.arn)
    return judged(
        problems,
        Evidence("keys", 1, 1),
        observed=f"{name} is enabled and rotated every year",
        expected="enabled, not pending deletion, rotated",
    )


CHECKS = (
    Check(
        id="encryption.logs",
        title="logs are encrypted",
        run=logs_encrypted,
        severity=Severity.HIGH,
        reads=("logs:DescribeLogGroups", "kms:DescribeKey"),
        why="logs hold what agents were asked and answered",
        remedy="./acso deploy sets the key again; enable it if it was disabled",
    ),
    Check(
        id="encryption.s3",
        title="buckets are encrypted and closed",
        run=buckets_encrypted,
        severity=Severity.HIGH,
        reads=(
            "s3:ListAllMyBuckets",
            "s3:GetEncryptionConfiguration",
            "s3:GetBucketPublicAccessBlock",
            "s3:GetBucketPolicy",
        ),
        why="a bucket that is public once has been copied",
        remedy="block public access, set default encryption, and deny requests without TLS",
        controls=("CIS 2.1.1", "CIS 2.1.4", "FSBP S3.5", "FSBP S3.8"),
    ),
    Check(
        id="encryption.dynamodb",
        title="tables are encrypted with a KMS key",
        run=tables_encrypted,
        severity=Severity.HIGH,
        reads=("dynamodb:ListTables", "dynamodb:DescribeTable"),
        why="with DynamoDB's own key nobody can take the access to the data away",
        remedy="./acso deploy sets SSESpecification again",
    ),
    Check(
        id="encryption.ecr",
        title="images are encrypted, scanned and immutable",
        run=repositories_safe,
        severity=Severity.HIGH,
        reads=("ecr:DescribeRepositories",),
        why="a tag that can be moved is another image tomorrow",
        remedy="./acso deploy applies the registry's template again",
        controls=("FSBP ECR.1", "FSBP ECR.2"),
    ),
    Check(
        id="encryption.sns",
        title="topics are encrypted",
        run=topics_encrypted,
        severity=Severity.MEDIUM,
        reads=("sns:ListTopics", "sns:GetTopicAttributes"),
        why="alarms tell what is wrong with an environment",
        remedy="./acso deploy sets KmsMasterKeyId again",
    ),
    Check(
        id="encryption.secrets",
        title="secrets are encrypted with the environment's key",
        run=secrets_encrypted,
        severity=Severity.HIGH,
        reads=("secretsmanager:ListSecrets",),
        why="with the key of the account everyone with rights to it reads them",
        remedy="set KmsKeyId of the secret to the environment's key",
    ),
    Check(
        id="encryption.keys",
        title="the key is enabled and rotated",
        run=keys_usable,
        severity=Severity.CRITICAL,
        reads=("kms:DescribeKey", "kms:GetKeyRotationStatus"),
        why="data whose key is deleted is lost",
        remedy="cancel its deletion, enable it, and turn its rotation on",
        controls=("CIS 3.6", "FSBP KMS.3"),
    ),
)
