"""Amazon CloudWatch: alarms."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ci.aws.session import Aws


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """One alarm on a metric: what it watches, its state, and whom it notifies.

    `changed` is when it was created or last configured.
    """

    name: str
    metric: str  # namespace and name, such as `AWS/ECS CPUUtilization`
    dimensions: Mapping[str, str]
    threshold: float
    comparison: str
    seconds: int  # period times evaluation periods
    state: str
    reason: str
    enabled: bool
    actions: tuple[str, ...]
    changed: datetime.datetime | None


async def alarms(aws: Aws, prefix: str) -> list[Alarm]:
    """Return the alarms on metrics whose name begins with a prefix."""
    found = await aws.pages(
        "cloudwatch",
        "describe_alarms",
        "MetricAlarms",
        AlarmNamePrefix=prefix,
        AlarmTypes=["MetricAlarm"],
    )
    return [_alarm(item) for item in found]


def _alarm(item: Mapping[str, Any]) -> Alarm:
    return Alarm(
        name=item["AlarmName"],
        metric=f"{item.get('Namespace', '')} {item.get('MetricName', '')}",
        dimensions={pair["Name"]: pair["Value"] for pair in item.get("Dimensions", ())},
        threshold=float(item.get("Threshold", 0)),
        comparison=item.get("ComparisonOperator", ""),
        seconds=int(item.get("Period", 0)) * int(item.get("EvaluationPeriods", 0)),
        state=item["StateValue"],
        reason=item.get("StateReason", ""),
        enabled=bool(item.get("ActionsEnabled")),
        actions=tuple(item.get("AlarmActions", ())),
        changed=item.get("AlarmConfigurationUpdatedTimestamp"),
    )
