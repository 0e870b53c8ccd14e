"""AWS Secrets Manager: names and keys of secrets; their values are never read."""

from dataclasses import dataclass

from ci.aws.session import Aws


@dataclass(frozen=True, kw_only=True)
class Secret:
    """One secret: its ARN, its name, and its key (empty: the service's own)."""

    arn: str
    name: str
    key: str


async def secrets(aws: Aws) -> list[Secret]:
    """Return all secrets of the region that are not deleted."""
    found = await aws.pages("secretsmanager", "list_secrets", "SecretList")
    return [
        Secret(arn=item["ARN"], name=item["Name"], key=item.get("KmsKeyId", "")) for item in found
    ]
