"""What an environment costs by the month before anybody uses it, from a table of prices.

Not counted, because they depend on use: traffic, requests, logs, metrics, models, tables, images.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ci.config import Config, Environment
from ci.infra.templates import ENDPOINTS

#: US dollars in us-east-1, as AWS's price lists had them in 2026-11. Other regions cost up to twice
#: as much.
DATE, REGION = "2026-11", "us-east-1"
HOURS = 730  # of a month
ZONES = 2
PRICES: Mapping[str, float] = MappingProxyType(
    {
        "load balancer": 0.0225 * HOURS,
        "NAT gateway": 0.045 * HOURS,
        "public address": 0.005 * HOURS,
        "endpoint in a zone": 0.01 * HOURS,
        "KMS key": 1.0,
        "alarm": 0.10,
    }
)
#: Fargate's prices of a vCPU and a GB, by platform.
FARGATE: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "linux/amd64": (0.04048 * HOURS, 0.004445 * HOURS),
        "linux/arm64": (0.03238 * HOURS, 0.00356 * HOURS),
    }
)
ALARMS = 4  # of an agent


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One line of the costs: what, how many, and dollars by the month."""

    what: str
    count: int
    dollars: float


def costs(config: Config, env: Environment) -> list[Cost]:
    """Return the fixed costs of an environment; scaled agents count with their least tasks."""
    own = not env.network.vpc
    gateways = {"none": 0, "one": 1, "per-zone": ZONES}[env.network.nat] if own else 0
    public = gateways + (0 if env.load_balancer.internal else ZONES)
    endpoints = ENDPOINTS * ZONES if own and env.network.nat == "none" else 0
    counts = {
        "load balancer": 1,
        "NAT gateway": gateways,
        "public address": public,
        "endpoint in a zone": endpoints,
        "KMS key": 1,
        "alarm": ALARMS * len(config.agents),
    }
    fixed = [
        Cost(what=what, count=count, dollars=count * PRICES[what])
        for what, count in counts.items()
        if count
    ]
    return [*fixed, _tasks(config, env)]


def _tasks(config: Config, env: Environment) -> Cost:
    cpu, memory = FARGATE[config.project.platform]
    tasks = [env.task(agent) for agent in config.agents]
    dollars = sum(
        task.desired_count * (task.cpu / 1024 * cpu + task.memory / 1024 * memory) for task in tasks
    )
    return Cost(what="task", count=sum(task.desired_count for task in tasks), dollars=dollars)
