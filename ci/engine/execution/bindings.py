"""Services that a container is bound to: of containers, or of this host by forwarded ports."""

from ci.common.concurrency import parallel
from ci.engine.execution.port_forwards import PortForwards
from ci.engine.execution.resources import Evaluate
from ci.engine.execution.services import Services
from ci.engine.ids import Call
from ci.engine.values import Container, Port, PortForward, Service


class Bindings:
    """Both kinds of services under one interface."""

    def __init__(self, services: Services, port_forwards: PortForwards, evaluate: Evaluate) -> None:
        self._services = services
        self._port_forwards = port_forwards
        self._evaluate = evaluate

    async def start(self, service: Service | PortForward) -> str:
        """Start a service unless it runs; return the address at which containers reach it."""
        if isinstance(service, PortForward):
            return (await self._port_forwards.start(service)).address
        return (await self._services.start(service)).address

    async def stop(self, service: Service | PortForward) -> None:
        """Stop a service if it runs."""
        if isinstance(service, PortForward):
            await self._port_forwards.stop(service)
        else:
            await self._services.stop(service)

    async def ports(self, service: Service | PortForward) -> tuple[Port, ...]:
        """Return the ports on which a service listens."""
        if isinstance(service, PortForward):
            return await self._port_forwards.ports(service)
        return service.container.ports

    async def hostname(self, service: Service | PortForward) -> str:
        """Return the name by which containers bound to a service reach it."""
        if isinstance(service, PortForward):
            return service.hostname
        return await self._services.hostname(service)

    async def start_all(self, container: Container) -> dict[str, str]:
        """Start all services of a container; return their addresses by alias and host name."""
        found: dict[str, str] = {}

        async def bind(binding: tuple[str, Call]) -> None:
            alias, call = binding
            service = await self._evaluate(call)
            found[alias] = found[await self.hostname(service)] = await self.start(service)

        await parallel(bind, container.services)
        return dict(sorted(found.items()))
