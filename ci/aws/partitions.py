"""AWS's partitions: the commercial regions, GovCloud, China and others have ARNs and domains apart.

botocore's own data says which region is where, so that a new partition needs no change here.
"""

import re
from collections.abc import Mapping
from typing import Any

from ci.aws.session import loader

COMMERCIAL = "aws"


def partition(region: str) -> str:
    """Return the partition of a region, such as `aws` or `aws-cn`; `aws` if it is unknown."""
    return str(_of(region)["id"])


def domain(region: str) -> str:
    """Return the domain of a region's endpoints, such as `amazonaws.com`."""
    return str(_of(region)["outputs"]["dnsSuffix"])


def _of(region: str) -> Mapping[str, Any]:
    known: list[Mapping[str, Any]] = loader().load_data("partitions")["partitions"]
    found = (
        item
        for item in known
        if region in item["regions"] or re.fullmatch(item["regionRegex"].strip("^$"), region)
    )
    return next(found, None) or next(item for item in known if item["id"] == COMMERCIAL)
