"""Forwarded ports: from this host to a service, from containers to this host.

A listener is open until its service is stopped or the session ends.
"""

from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketAttribute

from ci.common import networks
from ci.engine.errors import EngineError, UnsupportedError
from ci.engine.execution.resources import Resources
from ci.engine.execution.services import Services
from ci.engine.values import Port, PortForward, Service

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class OpenPorts:
    """A port forward that listens."""

    address: str
    ports: tuple[tuple[int, int], ...]  # frontend (where it listens), backend (where that leads)
    scope: anyio.CancelScope


class PortForwards:
    """All port forwards of a session."""

    def __init__(self, resources: Resources, services: Services) -> None:
        self._options = resources.options
        self._daemon = resources.daemon
        self._flights = resources.flights
        self._group = resources.group
        self._services = services
        self._open: dict[PortForward, OpenPorts] = {}

    async def ports(self, forward: PortForward) -> tuple[Port, ...]:
        """Return the ports on which a forward listens."""
        return tuple(Port(port=front) for front, _ in (await self.start(forward)).ports)

    async def start(self, forward: PortForward) -> OpenPorts:
        """Listen, unless the ports are open already.

        Raises:
            EngineError: a port is in use, or the service does not start.
        """
        if forward not in self._open:
            name = f"port forward {hash(forward)}"
            await self._flights.run(name, lambda: self._start(forward))
        return self._open[forward]

    async def stop(self, forward: PortForward) -> None:
        """Stop listening; connections end."""
        found = self._open.pop(forward, None)
        if found is not None:
            found.scope.cancel()

    async def _start(self, forward: PortForward) -> None:
        if forward.service is None:
            address, target = await self._gateway(), forward.host
        else:
            address = LOOPBACK
            target = (await self._services.start(forward.service)).address
        scope, bound = anyio.CancelScope(), []
        try:
            for front, back in forward.ports:
                bound.append((await self._listen(scope, (address, front), (target, back)), back))
        except BaseException:
            scope.cancel()
            raise
        self._open[forward] = OpenPorts(address=address, ports=tuple(bound), scope=scope)

    async def _listen(
        self, scope: anyio.CancelScope, at: tuple[str, int], to: tuple[str, int]
    ) -> int:
        """Open one port in the background and return its number."""
        try:
            listener: Any = await anyio.create_tcp_listener(local_host=at[0], local_port=at[1])
        except OSError as error:
            raise EngineError(f"cannot listen on {at[0]}:{at[1]}: {error.strerror}") from error
        port = int(listener.extra_attributes[SocketAttribute.local_port]())

        async def serve() -> None:
            with scope:
                async with listener:
                    await listener.serve(lambda stream: _connect(stream, to))

        self._group.start_soon(serve)
        self._options.log(f"forward {at[0]}:{port} to {to[0]}:{to[1]}")
        return port

    async def _gateway(self) -> str:
        """Return the address at which containers reach this host."""
        for name in networks.DEFAULT:
            found = await self._daemon.inspect(self._daemon.client.inspect_network, name)
            if found is not None and (address := networks.gateway(found)):
                return address
        raise EngineError(
            "the container engine has no bridge network by which containers reach this host"
        )


async def _connect(stream: ByteStream, to: tuple[str, int]) -> None:
    """Copy bytes both ways until both sides are done."""
    async with stream:
        try:
            other = await anyio.connect_tcp(*to)
        except OSError:
            return  # the client's connection ends, as it does where nothing listens
        async with other, anyio.create_task_group() as group:
            group.start_soon(_copy, stream, other)
            group.start_soon(_copy, other, stream)


async def _copy(source: ByteStream, target: ByteStream) -> None:
    try:
        async for data in source:
            await target.send(data)
        await target.send_eof()
    except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await target.aclose()


def require_tcp(asked: list[dict[str, Any]]) -> None:
    """Raise `UnsupportedError` for a forwarded port that is not a TCP port."""
    if any(each.get("protocol", "TCP") != "TCP" for each in asked):
        raise UnsupportedError("PortForward(protocol: UDP)")


def forwarded_ports(
    service: Service, asked: list[dict[str, Any]], *, native: bool, random: bool = False
) -> tuple[tuple[int, int], ...]:
    """Return the ports that lead to a service: those in the request, or all that it exposes.

    A missing frontend means any free port, and `random` means that for all of them. `native` adds
    every exposed port under its own number.
    """
    require_tcp(asked)
    pairs = [(each.get("frontend") or 0, each["backend"]) for each in asked]
    if native or not asked:
        exposed = [p.port for p in service.container.ports if p.protocol == "TCP"]
        pairs += [(port if native else 0, port) for port in exposed]
    if not pairs:
        raise EngineError("the service exposes no TCP port")
    return tuple((0 if random else front, back) for front, back in pairs)
