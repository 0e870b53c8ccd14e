"""Figures of an agent, and what reads them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the figures of one agent are: its service, its target group, and its tasks.

    Attributes:
        cluster: name of the cluster.
        service: name of the service.
        balancer: end of the load balancer's ARN: `app/NAME/ID`.
        group: end of the target group's ARN: `targetgroup/NAME/ID`.
        tasks: base URLs of the running tasks.
        cpu: CPU units that each task has.
        memory: MiB that each task has.
    """

    cluster: str
    service: str
    balancer: str
    group: str
    tasks: tuple[str, ...] = ()
    cpu: int = 0
    memory: int = 0


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was measured of one agent; None where there is no data.

    Attributes:
        cpu: average use in percent.
        memory: average use in percent.
        latency: 95th percentile of response times in milliseconds; of the slowest minute, where
            it is known by the minute.
        requests: number of requests.
        errors: number of 5xx responses; 0 if there are requests and none of these.
    """

    cpu: float | None = None
    memory: float | None = None
    latency: float | None = None
    requests: float | None = None
    errors: float | None = None

    @property
    def complete(self) -> bool:
        """Whether there is data of everything."""
        return None not in vars(self).values()


class Metrics(ABC):
    """Reads figures of agents."""

    @property
    @abstractmethod
    def period(self) -> str:
        """When the figures were measured, such as `in the last 900 s`."""

    #: Seconds after which the figures of a new task are there.
    delay: float = 0.0

    @abstractmethod
    async def figures(self, sources: Mapping[str, Source]) -> dict[str, Figures]:
        """Return the figures of each agent.

        Raises:
            AwsError: AWS refused, also for one figure, or returned a part of the data.
            ProbeError: a task does not answer with its figures.
        """
