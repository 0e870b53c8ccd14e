"""Ports that lead somewhere else: from this host to a service, from containers to this host.

A listener is open until the service that it stands for is stopped, or the session ends.
"""

from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import ByteStream, SocketAttribute

from ci.engine.errors import EngineError, UnsupportedError
from ci.engine.store.cache import key_of
from ci.engine.values import Forward, Port, Service

if TYPE_CHECKING:
    from ci.engine.execution.session import Engine

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Open:
    """A forward that listens."""

    address: str
    ports: tuple[tuple[int, int], ...]  # where it listens, where that leads
    scope: anyio.CancelScope


class Forwards:
    """All forwards of a session."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._open: dict[Forward, Open] = {}

    async def key(self, forward: Forward) -> str:
        """Return the key of what a step sees of a forward."""
        return key_of("forward", forward.host, forward.ports)

    async def ports(self, forward: Forward) -> tuple[Port, ...]:
        """Return where it listens."""
        return tuple(Port(port=front) for front, _ in (await self.start(forward)).ports)

    async def start(self, forward: Forward) -> Open:
        """Listen, unless that is done already.

        Raises:
            EngineError: a port is taken, or the service does not start.
        """
        if forward not in self._open:
            name = f"forward {hash(forward)}"
            await self._engine.once.do(name, lambda: self._start(forward))
        return self._open[forward]

    async def stop(self, forward: Forward) -> None:
        """Stop listening; connections end."""
        found = self._open.pop(forward, None)
        if found is not None:
            found.scope.cancel()

    async def _start(self, forward: Forward) -> None:
        if forward.service is None:
            address, target = await self._gateway(), forward.host
        else:
            address = LOOPBACK
            target = (await self._engine.services.start(forward.service)).address
        scope, bound = anyio.CancelScope(), []
        try:
            for front, back in forward.ports:
                bound.append((await self._listen(scope, (address, front), (target, back)), back))
        except BaseException:
            scope.cancel()
            raise
        self._open[forward] = Open(address=address, ports=tuple(bound), scope=scope)

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
                    await listener.serve(lambda stream: _joined(stream, to))

        self._engine.group.start_soon(serve)
        self._engine.options.log(f"forward {at[0]}:{port} to {to[0]}:{to[1]}")
        return port

    async def _gateway(self) -> str:
        """Return the address under which containers reach this host."""
        daemon = self._engine.daemon
        for name in ("bridge", "podman"):
            found = await daemon.found(daemon.client.inspect_network, name)
            if found is not None:
                config = found["IPAM"]["Config"][0]  # the first address goes without saying
                return str(config.get("Gateway") or ip_network(config["Subnet"])[1])
        raise EngineError("the container engine has no bridge by which containers reach this host")


async def _joined(stream: ByteStream, to: tuple[str, int]) -> None:
    """Copy bytes both ways until both sides are done."""
    async with stream:
        try:
            other = await anyio.connect_tcp(*to)
        except OSError:
            return  # the caller sees its connection end, as it would with nobody listening
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
    """Raise `UnsupportedError` for a port that is to be forwarded and is no TCP port."""
    if any(each.get("protocol", "TCP") != "TCP" for each in asked):
        raise UnsupportedError("PortForward(protocol: UDP)")


def ports_of(
    service: Service, asked: list[dict[str, Any]], *, native: bool, random: bool = False
) -> tuple[tuple[int, int], ...]:
    """Return which ports lead to a service: those asked for, or all that it exposes.

    A frontend that is left out is any free port, with `random` each of them; `native` ones keep
    their number on this host.
    """
    require_tcp(asked)
    pairs = [(each.get("frontend") or 0, each["backend"]) for each in asked]
    if native or not asked:
        exposed = [p.port for p in service.container.ports if p.protocol == "TCP"]
        pairs += [(port if native else 0, port) for port in exposed]
    if not pairs:
        raise EngineError("the service exposes no TCP port")
    return tuple((0 if random else front, back) for front, back in pairs)
