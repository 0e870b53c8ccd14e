"""Amazon ECR: settings of repositories."""

from collections.abc import Sequence
from dataclasses import dataclass

from ci.aws.session import Aws
from ci.errors import AwsError


@dataclass(frozen=True, kw_only=True)
class Repository:
    """One repository: how it is encrypted (AES256 or KMS), scanned, and whether tags can move."""

    name: str
    encryption: str
    scanned: bool
    immutable: bool


async def repositories(aws: Aws, names: Sequence[str]) -> dict[str, Repository]:
    """Return the repositories of these names that exist; with one call if all do."""
    try:
        found = await aws.pages(
            "ecr", "describe_repositories", "repositories", repositoryNames=list(names)
        )
    except AwsError as error:
        if error.code != "RepositoryNotFoundException":
            raise
        found = await aws.pages("ecr", "describe_repositories", "repositories")
    return {
        item["repositoryName"]: Repository(
            name=item["repositoryName"],
            encryption=item.get("encryptionConfiguration", {}).get("encryptionType", "AES256"),
            scanned=bool(item.get("imageScanningConfiguration", {}).get("scanOnPush")),
            immutable=item.get("imageTagMutability", "MUTABLE").startswith("IMMUTABLE"),
        )
        for item in found
        if item["repositoryName"] in names
    }
