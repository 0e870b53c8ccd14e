"""AWS IAM Access Analyzer: what it finds wrong with a policy."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ci.aws.session import Aws

IDENTITY, RESOURCE = "IDENTITY_POLICY", "RESOURCE_POLICY"
TRUST = "AWS::IAM::AssumeRolePolicyDocument"


@dataclass(frozen=True, kw_only=True)
class Issue:
    """One finding; its kind is ERROR, SECURITY_WARNING, WARNING or SUGGESTION."""

    kind: str
    code: str
    details: str


async def issues(aws: Aws, policy: Mapping[str, Any], *, trust: bool = False) -> list[Issue]:
    """Return what is wrong with the policy of a role; `trust`: with who may assume it."""
    found = await aws.pages(
        "accessanalyzer",
        "validate_policy",
        "findings",
        policyDocument=json.dumps(policy),
        policyType=RESOURCE if trust else IDENTITY,
        **({"validatePolicyResourceType": TRUST} if trust else {}),
    )
    return [
        Issue(kind=item["findingType"], code=item["issueCode"], details=item["findingDetails"])
        for item in found
    ]
