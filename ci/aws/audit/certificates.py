"""AWS Certificate Manager: certificates."""

import datetime
from dataclasses import dataclass

from ci.aws.session import Aws
from ci.errors import AwsError


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """One certificate: its names, its status (ISSUED if it can be used), and its last moment."""

    arn: str
    status: str
    names: tuple[str, ...]
    ends: datetime.datetime | None


async def certificate(aws: Aws, arn: str) -> Certificate | None:
    """Return a certificate, None if it does not exist."""
    try:
        answer = await aws.call("acm", "describe_certificate", CertificateArn=arn)
    except AwsError as error:
        if error.code == "ResourceNotFoundException":
            return None
        raise
    found = answer["Certificate"]
    return Certificate(
        arn=arn,
        status=found.get("Status", ""),
        names=(found.get("DomainName", ""), *found.get("SubjectAlternativeNames", ())),
        ends=found.get("NotAfter"),
    )
