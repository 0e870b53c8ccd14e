"""Faults of keys, encryption and registries that can be planted in the embedded AWS.

It drops the encryption of DynamoDB, S3 and SNS from templates, and has no DisassociateKmsKey of
logs: those faults are in `responses`.
"""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from ci.release import ReleaseContext
from tests.validation.faults.fault import on_emulator


async def log_group(place: ReleaseContext) -> dict[str, Any]:
    """Return the environment's log group."""
    name = place.outputs.log_group
    answer = await place.aws.call("logs", "describe_log_groups", logGroupNamePrefix=name)
    found: dict[str, Any] = answer["logGroups"][0]
    return found


async def key_arn(place: ReleaseContext) -> str:
    """Return the ARN of the environment's key."""
    alias = f"alias/{place.env.prefix}-key"
    answer = await place.aws.call("kms", "describe_key", KeyId=alias)
    return str(answer["KeyMetadata"]["Arn"])


async def key(place: ReleaseContext) -> tuple[str, bool]:
    """Return the state of the environment's key, and whether it is rotated."""
    id_ = await key_arn(place)
    state = (await place.aws.call("kms", "describe_key", KeyId=id_))["KeyMetadata"]["KeyState"]
    rotation = await place.aws.call("kms", "get_key_rotation_status", KeyId=id_)
    return str(state), bool(rotation["KeyRotationEnabled"])


async def key_state(place: ReleaseContext) -> str:
    """Return the state of the environment's key."""
    answer = await place.aws.call("kms", "describe_key", KeyId=await key_arn(place))
    return str(answer["KeyMetadata"]["KeyState"])


async def repositories(place: ReleaseContext) -> dict[str, tuple[str, bool]]:
    """Return tag mutability and scan on push of the agents' repositories."""
    names = [agent.repository for agent in place.config.agents]
    answer = await place.aws.call("ecr", "describe_repositories", repositoryNames=names)
    return {
        item["repositoryName"]: (
            item["imageTagMutability"],
            item["imageScanningConfiguration"]["scanOnPush"],
        )
        for item in answer["repositories"]
    }


async def secret_keys(place: ReleaseContext) -> list[str]:
    """Return the keys of the two secrets of callers' tokens."""
    secrets = (place.outputs.people_secret, place.outputs.agents_secret)
    describe = partial(place.aws.call, "secretsmanager", "describe_secret")
    return [(await describe(SecretId=item)).get("KmsKeyId", "") for item in secrets]


@on_emulator(
    "monitoring.logs-retention",
    wrong="Logs are kept for ever: the log group has no retention.",
    read=log_group,
    shows=lambda group: "retentionInDays" not in group,
)
async def logs_kept_for_ever(place: ReleaseContext) -> AsyncIterator[None]:
    logs = partial(place.aws.call, "logs")
    await logs("delete_retention_policy", logGroupName=place.outputs.log_group)
    yield
    await _retain(place, place.env.log_retention)


@on_emulator(
    "monitoring.logs-retention",
    wrong="Logs are kept for one day, less than acso.toml asks for.",
    read=log_group,
    shows=lambda group: group.get("retentionInDays") == 1,
)
async def logs_kept_for_a_day(place: ReleaseContext) -> AsyncIterator[None]:
    await _retain(place, 1)
    yield
    await _retain(place, place.env.log_retention)


async def _retain(place: ReleaseContext, days: int) -> None:
    name = place.outputs.log_group
    await place.aws.call("logs", "put_retention_policy", logGroupName=name, retentionInDays=days)


@on_emulator(
    "encryption.keys",
    "encryption.logs",
    wrong="The environment's KMS key is disabled.",
    read=key_state,
    shows=lambda state: state == "Disabled",
)
async def key_disabled(place: ReleaseContext) -> AsyncIterator[None]:
    await place.aws.call("kms", "disable_key", KeyId=await key_arn(place))
    yield
    await place.aws.call("kms", "enable_key", KeyId=await key_arn(place))


@on_emulator(
    "encryption.keys",
    "encryption.logs",
    wrong="The environment's KMS key is pending deletion.",
    read=key_state,
    shows=lambda state: state == "PendingDeletion",
)
async def key_pending_deletion(place: ReleaseContext) -> AsyncIterator[None]:
    kms, id_ = partial(place.aws.call, "kms"), await key_arn(place)
    await kms("schedule_key_deletion", KeyId=id_, PendingWindowInDays=7)
    yield
    await kms("cancel_key_deletion", KeyId=id_)
    await kms("enable_key", KeyId=id_)  # it is disabled after the cancellation


@on_emulator(
    "encryption.keys",
    wrong="The rotation of the environment's KMS key is off.",
    read=key,
    shows=lambda found: found == ("Enabled", False),
)
async def key_not_rotated(place: ReleaseContext) -> AsyncIterator[None]:
    await place.aws.call("kms", "disable_key_rotation", KeyId=await key_arn(place))
    yield
    await place.aws.call("kms", "enable_key_rotation", KeyId=await key_arn(place))


@on_emulator(
    "encryption.ecr",
    wrong="Tags of the last agent's repository can be moved to another image.",
    read=repositories,
    shows=lambda found: any(mutability == "MUTABLE" for mutability, _ in found.values()),
)
async def mutable_repository(place: ReleaseContext) -> AsyncIterator[None]:
    change = partial(
        place.aws.call,
        "ecr",
        "put_image_tag_mutability",
        repositoryName=place.config.agents[-1].repository,
    )
    await change(imageTagMutability="MUTABLE")
    yield
    await change(imageTagMutability="IMMUTABLE")


@on_emulator(
    "encryption.ecr",
    wrong="Images of the third agent's repository are not scanned on push.",
    read=repositories,
    shows=lambda found: not all(scanned for _, scanned in found.values()),
)
async def repository_not_scanned(place: ReleaseContext) -> AsyncIterator[None]:
    change = partial(
        place.aws.call,
        "ecr",
        "put_image_scanning_configuration",
        repositoryName=place.config.agents[2].repository,
    )
    await change(imageScanningConfiguration={"scanOnPush": False})
    yield
    await change(imageScanningConfiguration={"scanOnPush": True})


@on_emulator(
    "encryption.secrets",
    wrong="The secret of people's tokens is encrypted with the account's default key.",
    read=secret_keys,
    shows=lambda keys: "alias/aws/secretsmanager" in keys,
)
async def secret_with_the_default_key(place: ReleaseContext) -> AsyncIterator[None]:
    change = partial(
        place.aws.call, "secretsmanager", "update_secret", SecretId=place.outputs.people_secret
    )
    await change(KmsKeyId="alias/aws/secretsmanager")
    yield
    await change(KmsKeyId=await key_arn(place))
