"""What the embedded AWS has not, so that checks cannot look there.

A check that is listed ends as NOT_EXAMINED on the embedded AWS and blocks nothing there; on AWS
the same check runs and blocks. A test compares the length of the list: it grows on purpose only.
"""

from collections.abc import Mapping
from types import MappingProxyType

NOT_THERE: Mapping[str, str] = MappingProxyType(
    {
        "iam.access-analyzer": "it has no Access Analyzer",
        "monitoring.alarms": "it has no metrics, so that no alarm has data",
        "network.endpoints": "it has no NAT gateways; endpoints are examined",
    }
)
