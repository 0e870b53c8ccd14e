"""Figures of the agents over a window, as CloudWatch has them.

Sources: Amazon ECS Developer Guide, "Amazon ECS CloudWatch metrics"; Elastic Load Balancing User
Guide, "CloudWatch metrics for your Application Load Balancer".
"""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ci.aws.metrics.model import Figures, Metrics, Source
from ci.aws.session import Aws
from ci.errors import AwsError

ECS, BALANCER = "AWS/ECS", "AWS/ApplicationELB"
CPU, MEMORY, LATENCY, REQUESTS, ERRORS = "cpu", "memory", "latency", "requests", "errors"
#: The figures: namespace, name in CloudWatch, and statistic.
FIGURES: Mapping[str, tuple[str, str, str]] = {
    CPU: (ECS, "CPUUtilization", "Average"),
    MEMORY: (ECS, "MemoryUtilization", "Average"),
    LATENCY: (BALANCER, "TargetResponseTime", "p95"),
    REQUESTS: (BALANCER, "RequestCount", "Sum"),
    ERRORS: (BALANCER, "HTTPCode_Target_5XX_Count", "Sum"),
}
MINUTE = 60  # seconds; CloudWatch keeps no finer figures of these
METRICS = 500  # at most, in one GetMetricData


@dataclass(frozen=True, kw_only=True)
class CloudWatch(Metrics):
    """Reads figures of a window (in seconds) that ends now."""

    aws: Aws
    window: int
    delay: float = 75.0  # CloudWatch has the figures of a new task after a minute or two

    @property
    def period(self) -> str:
        """When the figures were measured."""
        return f"in the last {self.window} s"

    async def figures(self, sources: Mapping[str, Source]) -> dict[str, Figures]:
        """Return the figures of each agent; with one call for up to 100 agents.

        Raises:
            AwsError: CloudWatch refused, also for one metric, or returned a part of the data.
        """
        queries = [
            _query(f"{figure}{number}", source, figure)
            for number, source in enumerate(sources.values())
            for figure in FIGURES
        ]
        end = datetime.datetime.now(datetime.UTC)
        values: dict[str, list[float]] = {}
        for start in range(0, len(queries), METRICS):
            results = await self.aws.pages(
                "cloudwatch",
                "get_metric_data",
                "MetricDataResults",
                MetricDataQueries=queries[start : start + METRICS],
                StartTime=end - datetime.timedelta(seconds=self.window),
                EndTime=end,
            )
            _collect(results, values)
        return {agent: _figures(values, number) for number, agent in enumerate(sources)}


def _collect(results: Sequence[Mapping[str, Any]], values: dict[str, list[float]]) -> None:
    """Add values by the query's id; a metric's values may be on several pages."""
    for item in results:
        if item.get("StatusCode") in ("Forbidden", "InternalError"):
            message = f"cloudwatch get_metric_data: {item['StatusCode']} for {item.get('Label')}"
            raise AwsError(message, service="cloudwatch", operation="get_metric_data")
        values.setdefault(item["Id"], []).extend(item.get("Values", ()))


def _figures(values: Mapping[str, Sequence[float]], number: int) -> Figures:
    found = {figure: values.get(f"{figure}{number}", ()) for figure in FIGURES}
    requests, errors = sum(found[REQUESTS]), sum(found[ERRORS])
    return Figures(
        cpu=_mean(found[CPU]),
        memory=_mean(found[MEMORY]),
        latency=1000 * max(found[LATENCY]) if found[LATENCY] else None,
        requests=requests or None,
        errors=errors if requests else None,
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _query(id_: str, source: Source, figure: str) -> Mapping[str, Any]:
    namespace, name, statistic = FIGURES[figure]
    dimensions = (
        {"ClusterName": source.cluster, "ServiceName": source.service}
        if namespace == ECS
        else {"LoadBalancer": source.balancer, "TargetGroup": source.group}
    )
    metric = {
        "Namespace": namespace,
        "MetricName": name,
        "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
    }
    return {"Id": id_, "MetricStat": {"Metric": metric, "Period": MINUTE, "Stat": statistic}}
