"""What the parts of a session share; nothing here knows those parts."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from anyio.abc import TaskGroup

from ci.engine.docker.docker_api import Daemon
from ci.engine.errors import EngineError
from ci.engine.execution.containers import StepContainers
from ci.engine.execution.single_flight import SingleFlight
from ci.engine.files.rootfs import Rootfs
from ci.engine.formats import platforms
from ci.engine.ids import Call
from ci.engine.options import Options
from ci.engine.store.cache import Store
from ci.engine.values import Container

T = TypeVar("T")
#: Evaluates a call to its value; each call once in a session.
Evaluate = Callable[[Call], Awaitable[Any]]
#: Returns the plain value of a secret.
Reveal = Callable[[Call], Awaitable[bytes]]


class BoundServices(Protocol):
    """The services bound to containers, as a step needs them."""

    async def start_all(self, container: Container) -> dict[str, str]:
        """Start the services of a container; return addresses by host name."""

    async def while_running(self, container: Container, work: Callable[[], Awaitable[T]]) -> T:
        """Do work that needs the services of a container; raise if one of them ends."""

    async def bound_end(self, container: Container) -> EngineError:
        """Wait until a service of a container has ended; return the error that says so."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Store, container engine and task group of one session."""

    options: Options
    store: Store
    daemon: Daemon
    rootfs: Rootfs
    containers: StepContainers
    flights: SingleFlight
    group: TaskGroup

    @property
    def platform(self) -> str:
        """The one platform of this engine: the daemon's own."""
        return f"linux/{self.daemon.architecture}"

    def require_platform(self, platform: str | None) -> None:
        """Raise `EngineError` for another platform than this engine's."""
        if platform is not None and platforms.normalized(platform) != self.platform:
            raise EngineError(
                f"platform {platform}: this engine runs {self.platform} only; "
                "use a Dagger engine for other platforms (--engine dagger)"
            )
