"""The secrets of the agents' callers in AWS Secrets Manager: read, rotated, revoked."""

from typing import Any

from ci.aws.session import Aws
from ci.errors import AwsError

#: Secrets Manager keeps about 100 versions without a stage for a while.
MOST_VERSIONS = 200
CURRENT, PREVIOUS = "AWSCURRENT", "AWSPREVIOUS"


async def text(aws: Aws, secret: str) -> str:
    """Return a secret's current text."""
    answer = await aws.call("secretsmanager", "get_secret_value", SecretId=secret)
    return str(answer["SecretString"])


async def previous(aws: Aws, secret: str) -> str | None:
    """Return a secret's text before its last rotation; None if there is none, or it is revoked."""
    return await _version(aws, secret, VersionStage=PREVIOUS)


async def retired(aws: Aws, secret: str) -> list[str]:
    """Return the texts of versions that are neither current nor previous and still readable.

    Source: AWS Secrets Manager API Reference, ListSecretVersionIds, IncludeDeprecated.
    """
    versions: list[dict[str, Any]] = []
    token: dict[str, str] = {}
    while True:
        answer = await aws.call(
            "secretsmanager",
            "list_secret_version_ids",
            SecretId=secret,
            IncludeDeprecated=True,
            **token,
        )
        versions += answer["Versions"]
        token = {"NextToken": answer["NextToken"]} if answer.get("NextToken") else {}
        if not token or len(versions) > MOST_VERSIONS:
            break
    old = [item["VersionId"] for item in versions if not item.get("VersionStages")]
    found = [await _version(aws, secret, VersionId=version) for version in old]
    return [text for text in found if text is not None]


async def _version(aws: Aws, secret: str, **which: str) -> str | None:
    try:
        answer = await aws.call("secretsmanager", "get_secret_value", SecretId=secret, **which)
    except AwsError as error:
        if error.code == "ResourceNotFoundException":
            return None
        raise
    return str(answer["SecretString"])


async def rotate(aws: Aws, secret: str, new: str) -> None:
    """Make a text the current one; Secrets Manager keeps the old one as the previous one."""
    await aws.call("secretsmanager", "put_secret_value", SecretId=secret, SecretString=new)


async def revoke(aws: Aws, secret: str) -> bool:
    """Remove the previous text; return whether there was one."""
    answer = await aws.call("secretsmanager", "describe_secret", SecretId=secret)
    stages = answer.get("VersionIdsToStages", {})
    previous = [version for version, names in stages.items() if PREVIOUS in names]
    for version in previous:
        await aws.call(
            "secretsmanager",
            "update_secret_version_stage",
            SecretId=secret,
            VersionStage=PREVIOUS,
            RemoveFromVersionId=version,
        )
    return bool(previous)
