"""The secrets of the agents' callers in AWS Secrets Manager: read, rotated, revoked."""

from ci.aws.session import Aws

CURRENT, PREVIOUS = "AWSCURRENT", "AWSPREVIOUS"


async def text(aws: Aws, secret: str) -> str:
    """Return a secret's current text."""
    answer = await aws.call("secretsmanager", "get_secret_value", SecretId=secret)
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
