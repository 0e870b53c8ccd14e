"""Responses of AWS as documented, in pairs: of a good environment, and of one with a fault.

A pair belongs to one operation, and to calls with given arguments. Metrics are described by their
values, because GetMetricData and GetMetricStatistics answer the same question in two shapes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

AGENTS = (
    "supervisor",
    "threat-hunter",
    "incident-response",
    "service-orchestration",
    "financial-intelligence",
)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The environment that responses are about, and the current time."""

    now: datetime
    environment: str = "production"
    account: str = "123456789012"
    region: str = "us-east-1"
    agents: tuple[str, ...] = AGENTS
    vpc: str = "vpc-0a1b2c3d4e5f60718"

    @property
    def prefix(self) -> str:
        """The first part of the names of all resources, and the name of the stack."""
        return f"acso-{self.environment}"

    @property
    def cluster(self) -> str:
        """The name of the ECS cluster."""
        return f"{self.prefix}-cluster"

    @property
    def log_group(self) -> str:
        """The name of the agents' log group."""
        return f"/aws/acso/{self.environment}/agents"

    @property
    def key(self) -> str:
        """The ARN of the environment's KMS key."""
        return self.arn("kms", "key/1234abcd-12ab-34cd-56ef-1234567890ab")

    @property
    def topic(self) -> str:
        """The ARN of the topic that alarms go to."""
        return self.arn("sns", f"{self.prefix}-alerts")

    @property
    def certificate(self) -> str:
        """The ARN of the load balancer's certificate."""
        return self.arn("acm", "certificate/12345678-1234-1234-1234-123456789012")

    @property
    def load_balancer(self) -> str:
        """The ARN of the load balancer."""
        return self.arn(
            "elasticloadbalancing", f"loadbalancer/app/{self.prefix}-alb/50dc6c495c0c9188"
        )

    @property
    def bucket(self) -> str:
        """The name of the bucket that the stack has."""
        return f"{self.prefix}-accesslogbucket-1a2b3c4d5e6f"

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a resource of the environment's account."""
        region = "" if service == "iam" else self.region
        return f"arn:aws:{service}:{region}:{self.account}:{resource}"

    def service(self, agent: str) -> str:
        """Return the name of an agent's ECS service and family."""
        return f"{self.prefix}-{agent}"

    def role(self, agent: str) -> str:
        """Return the name of an agent's task role."""
        return f"{self.prefix}-{agent}-task"

    def table(self, name: str = "agents") -> str:
        """Return the name of a table."""
        return f"{self.prefix}-{name}"

    def target_group(self, agent: str) -> str:
        """Return the ARN of an agent's target group."""
        number = f"{self.agents.index(agent):016x}"
        return self.arn("elasticloadbalancing", f"targetgroup/acso-{agent[:12]}/{number}")

    def digest(self, agent: str) -> str:
        """Return the digest of the image that an agent's release record lists."""
        return f"sha256:{self.agents.index(agent) + 1:064x}"

    def before(self, **delta: float) -> datetime:
        """Return a time before now, such as `before(days=3)`."""
        return self.now - timedelta(**delta)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An error that AWS answers with."""

    code: str
    message: str


Reply = tuple[Mapping[str, Any], ...] | Refusal  # the pages in their order, or an error


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answers to one call of a boto3 client: the good one and the one that shows the fault.

    It is for calls that have at least these `arguments`.
    """

    service: str
    operation: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    good: Reply
    bad: Reply

    def is_for(self, service: str, operation: str, arguments: Mapping[str, Any]) -> bool:
        """Return whether this answers a call."""
        return (service, operation) == (self.service, self.operation) and all(
            arguments.get(key) == value for key, value in self.arguments.items()
        )


def page(**response: Any) -> tuple[Mapping[str, Any], ...]:
    """Return a reply of one page."""
    return (response,)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """The values of one CloudWatch metric, oldest first, by statistic (`Average`, `p95`, ...)."""

    namespace: str
    name: str
    dimensions: Mapping[str, str]
    good: Mapping[str, Sequence[float]]
    bad: Mapping[str, Sequence[float]]
    unit: str = "Percent"

    def is_for(self, namespace: str, name: str, dimensions: Sequence[Mapping[str, str]]) -> bool:
        """Return whether a query is for this metric: all dimensions are equal, in any order."""
        asked = {item["Name"]: item["Value"] for item in dimensions}
        return (namespace, name, asked) == (self.namespace, self.name, dict(self.dimensions))


def metric_data(
    metrics: Sequence[Metric], arguments: Mapping[str, Any], *, planted: bool
) -> dict[str, Any]:
    """Return the response of GetMetricData; a metric that does not exist has no values."""
    results = []
    for query in arguments["MetricDataQueries"]:
        stat = query["MetricStat"]
        values = _values(metrics, stat["Metric"], stat["Stat"], planted=planted)
        times = _times(arguments["EndTime"], stat["Period"], len(values))
        results.append(
            {
                "Id": query["Id"],
                "Label": stat["Metric"]["MetricName"],
                "StatusCode": "Complete",
                # The default order is TimestampDescending.
                "Timestamps": times[::-1],
                "Values": list(values)[::-1],
            }
        )
    return {"MetricDataResults": results, "Messages": []}


def metric_statistics(
    metrics: Sequence[Metric], arguments: Mapping[str, Any], *, planted: bool
) -> dict[str, Any]:
    """Return the response of GetMetricStatistics; percentiles are ExtendedStatistics."""
    plain, extended = arguments.get("Statistics", ()), arguments.get("ExtendedStatistics", ())
    series = {
        name: _values(metrics, arguments, name, planted=planted) for name in (*plain, *extended)
    }
    count = max(map(len, series.values()), default=0)
    times = _times(arguments["EndTime"], arguments["Period"], count)
    points = []
    for number, time in enumerate(times):
        point: dict[str, Any] = {"Timestamp": time}
        point |= {name: series[name][number] for name in plain}
        if extended:
            point["ExtendedStatistics"] = {name: series[name][number] for name in extended}
        points.append(point)
    return {"Label": arguments["MetricName"], "Datapoints": points}


def _values(
    metrics: Sequence[Metric], asked: Mapping[str, Any], statistic: str, *, planted: bool
) -> Sequence[float]:
    for metric in metrics:
        if metric.is_for(asked["Namespace"], asked["MetricName"], asked.get("Dimensions", ())):
            return (metric.bad if planted else metric.good).get(statistic, ())
    return ()


def _times(end: datetime, period: int, count: int) -> list[datetime]:
    return [end - timedelta(seconds=period * (count - number)) for number in range(count)]
