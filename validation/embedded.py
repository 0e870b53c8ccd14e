"""What the embedded AWS has not, so that checks cannot look there.

A check that is listed ends as NOT_EXAMINED on the embedded AWS and blocks nothing there; on AWS
the same check runs and blocks. A test compares the length of the list: it grows on purpose only.
"""

from collections.abc import Mapping
from types import MappingProxyType

NO_ROLES = "its tasks do not use their roles"
NOT_THERE: Mapping[str, str] = MappingProxyType(
    {
        "iam.access-analyzer": "it has no Access Analyzer",
        "monitoring.alarms": "it has no metrics, so that no alarm has data",
        "chaos.cut-bedrock": NO_ROLES,
        "chaos.deny-dynamodb": NO_ROLES,
        "network.endpoints": "it has no NAT gateways; endpoints are examined",
    }
)
