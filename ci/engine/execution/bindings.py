"""Services that a container is bound to: of containers, or of this host by forwarded ports."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar, cast

import anyio

from ci.common.concurrency import parallel, until
from ci.engine.errors import EngineError
from ci.engine.execution.resources import Evaluate
from ci.engine.execution.services import Services
from ci.engine.ids import Call
from ci.engine.values import Container, Port, PortForward, Service

if TYPE_CHECKING:
    from ci.engine.execution.port_forwards import PortForwards

T = TypeVar("T")


class Bindings:
    """Both kinds of services under one interface."""

    def __init__(
        self, services: Services, port_forwards: Callable[[], "PortForwards"], evaluate: Evaluate
    ) -> None:
        self._services = services
        self._port_forwards = port_forwards
        self._evaluate = evaluate
        self._started: dict[str, str] = {}  # addresses by host name, of the whole session

    async def start(self, service: Service | PortForward) -> str:
        """Start a service unless it runs; return the address at which containers reach it."""
        if isinstance(service, Service):
            address = (await self._services.start(service)).address
        else:
            address = (await self._port_forwards().start(service)).address
            if service.service is not None:  # containers do not reach a tunnel's listener
                return address
        self._started[await self.hostname(service)] = address
        return address

    async def stop(self, service: Service | PortForward, *, kill: bool = False) -> None:
        """Stop a service if it runs; see `Services.stop`."""
        if isinstance(service, PortForward):
            await self._port_forwards().stop(service)
        else:
            await self._services.stop(service, kill=kill)
        self._started.pop(await self.hostname(service), None)

    async def ports(self, service: Service | PortForward) -> tuple[Port, ...]:
        """Return the ports on which a service listens."""
        if isinstance(service, PortForward):
            return await self._port_forwards().ports(service)
        return service.container.ports

    async def hostname(self, service: Service | PortForward) -> str:
        """Return the name by which containers reach a service."""
        if isinstance(service, PortForward):
            return service.hostname
        return await self._services.hostname(service)

    async def start_all(self, container: Container) -> dict[str, str]:
        """Start all services of a container; return addresses by host name.

        Services that were started in this session answer by their host names without a binding.
        """
        found: dict[str, str] = {}

        async def bind(binding: tuple[str, Call]) -> None:
            alias, call = binding
            service = await self._evaluate(call)
            name = await self.hostname(service)
            try:
                found[alias] = found[name] = await self.start(service)
            except EngineError as error:
                raise error.within(f"start {name} (aliased as {alias})") from error

        await parallel(bind, container.services)
        return dict(sorted({**self._started, **found}.items()))

    async def while_running(self, container: Container, work: Callable[[], Awaitable[T]]) -> T:
        """Do work that needs the services of a container.

        Raises:
            EngineError: one of them ended meanwhile; with its output.
        """
        ended: list[EngineError] = []

        async def end() -> None:
            ended.append(await self.bound_end(container))

        result = await until(work, end)
        if ended and result is None:
            raise ended[0]
        return cast("T", result)  # None only if the work returns it

    async def bound_end(self, container: Container) -> EngineError:
        """Wait until a service of a container has ended; return the error that says so."""
        ended: list[EngineError] = []

        async with anyio.create_task_group() as group:

            async def watch(alias: str, call: Call) -> None:
                service = await self._evaluate(call)
                if isinstance(service, PortForward):
                    return
                error = await self._services.end(service)
                name = await self.hostname(service)
                ended.append(error.within(f"bound service {name} (aliased as {alias}) exited"))
                group.cancel_scope.cancel()

            for alias, call in container.services:
                group.start_soon(watch, alias, call)
        if not ended:
            await anyio.sleep_forever()
        return ended[0]
