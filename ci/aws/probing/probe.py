"""How requests reach an environment's load balancer."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from ci.aws import elb
from ci.aws.elb import Answer
from ci.aws.prober import Request

JSON = {"Accept": "application/json"}


class Probe(ABC):
    """Sends requests to an environment's load balancer, from where it can be reached.

    Nothing is raised for a request: an error is in its answer, and an answer that is not
    `examined` says nothing about the URL.
    """

    @abstractmethod
    async def send(self, request: Request) -> Answer:
        """Send any request; no redirect is followed."""

    #: How many requests could not be sent.
    unsent: int = 0

    @abstractmethod
    def start(self) -> None:
        """Begin to get ready; returns at once."""

    @abstractmethod
    async def ready(self) -> None:
        """Return once requests can be sent.

        Raises:
            ProbeError: they cannot; the message says why.
        """

    async def get(
        self, url: str, headers: Mapping[str, str] | None = None, *, seconds: float = 5.0
    ) -> Answer:
        """Request JSON from a URL."""
        return await self.send(
            Request(url=url, headers={**JSON, **(headers or {})}, seconds=seconds)
        )


class DirectProbe(Probe):
    """Sends requests from this machine."""

    def start(self) -> None:
        """Do nothing."""

    async def ready(self) -> None:
        """Return at once."""

    async def send(self, request: Request) -> Answer:
        """Send a request."""
        return await elb.send(request)

    async def get(
        self, url: str, headers: Mapping[str, str] | None = None, *, seconds: float = 5.0
    ) -> Answer:
        """Request JSON from a URL; without headers, redirects are followed."""
        if headers:
            return await super().get(url, headers, seconds=seconds)
        return await elb.get(url, seconds=seconds)


DIRECT = DirectProbe()
