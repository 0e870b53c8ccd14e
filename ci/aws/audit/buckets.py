"""Amazon S3: encryption, public access and policies of buckets."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ci.aws.session import Aws
from ci.errors import AwsError

BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """One bucket: algorithm and key of its default encryption, what is blocked, and its policy."""

    name: str
    algorithm: str
    key: str
    blocked: frozenset[str]
    policy: Mapping[str, Any]


async def names(aws: Aws) -> list[str]:
    """Return the names of all buckets of the account."""
    return [item["Name"] for item in await aws.pages("s3", "list_buckets", "Buckets")]


async def bucket(aws: Aws, name: str) -> Bucket:
    """Return a bucket; what was never set is empty."""
    encryption = await _setting(
        aws.call("s3", "get_bucket_encryption", Bucket=name),
        "ServerSideEncryptionConfigurationNotFoundError",
    )
    access = await _setting(
        aws.call("s3", "get_public_access_block", Bucket=name),
        "NoSuchPublicAccessBlockConfiguration",
    )
    policy = await _setting(aws.call("s3", "get_bucket_policy", Bucket=name), "NoSuchBucketPolicy")
    rules = encryption.get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
    defaults = [rule.get("ApplyServerSideEncryptionByDefault", {}) for rule in rules]
    default = defaults[0] if defaults else {}
    blocks = access.get("PublicAccessBlockConfiguration", {})
    return Bucket(
        name=name,
        algorithm=default.get("SSEAlgorithm", ""),
        key=default.get("KMSMasterKeyID", ""),
        blocked=frozenset(block for block in BLOCKS if blocks.get(block)),
        policy=json.loads(policy.get("Policy") or "{}"),
    )


async def _setting(call: Any, absent: str) -> Mapping[str, Any]:
    try:
        answer: Mapping[str, Any] = await call
    except AwsError as error:
        if error.code == absent:
            return {}
        raise
    return answer
