"""Forwarded ports: from this host to a service, from containers to this host.

A listener is open until its service is stopped or the session ends. Services of this host listen
on the gateway of the default network. Where a port is in use there, the service gets a network of
its own, and with it another address of this host.
"""

import errno
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
from anyio.abc import (
    ByteStream,
    Listener,
    SocketAttribute,
    SocketListener,
    SocketStream,
    TaskStatus,
)

from ci.common import networks
from ci.engine.errors import EngineError, UnsupportedError
from ci.engine.execution.resources import Resources
from ci.engine.execution.services import Services
from ci.engine.values import Port, PortForward, Service

LOOPBACK = "127.0.0.1"
#: Names of this host as the target of a forward.
THIS_HOST = ("localhost", LOOPBACK)
#: The option to bind to an address that does not exist yet, see ip(7); Python has no name for it.
IP_FREEBIND = 15


class PortInUseError(EngineError):
    """A port of this host is in use."""


@dataclass(frozen=True, kw_only=True)
class OpenPort:
    """A port that listens and the port that it leads to."""

    front: int
    back: int
    listener: Any  # None: a program of this host listens on all addresses under this port


@dataclass(frozen=True, kw_only=True)
class OpenPorts:
    """A port forward that listens."""

    address: str
    ports: tuple[OpenPort, ...]
    scope: anyio.CancelScope


class PortForwards:
    """All port forwards of a session."""

    def __init__(self, resources: Resources, services: Services) -> None:
        self._options = resources.options
        self._daemon = resources.daemon
        self._flights = resources.flights
        self._group = resources.group
        self._services = services
        self._open: dict[str, OpenPorts] = {}  # by `_key`

    async def ports(self, forward: PortForward) -> tuple[Port, ...]:
        """Return the ports on which a forward listens."""
        return tuple(Port(port=each.front) for each in (await self.start(forward)).ports)

    async def start(self, forward: PortForward) -> OpenPorts:
        """Listen, unless the ports are open already.

        Raises:
            EngineError: a port is in use, or the service does not start.
        """
        key = _key(forward)
        if key not in self._open:
            name = f"port forward {key}"
            await self._flights.run(name, lambda: self._group.start(self._serve, forward))
        return self._open[key]

    async def stop(self, forward: PortForward) -> None:
        """Stop listening; connections end."""
        found = self._open.pop(_key(forward), None)
        if found is not None:
            found.scope.cancel()

    async def _serve(self, forward: PortForward, *, task_status: TaskStatus[None]) -> None:
        """Listen until the forward is stopped."""
        if forward.service is None:
            target, network = forward.host, secrets.token_hex(8)
            address, ports = await self._listen_for_containers(forward, network)
        else:
            target, network = (await self._services.start(forward.service)).address, ""
            address, ports = LOOPBACK, await _listen(LOOPBACK, forward.ports)
        try:
            async with anyio.create_task_group() as group:
                for each in ports:
                    self._options.log(f"forward {address}:{each.front} to {target}:{each.back}")
                    if each.listener is not None:
                        connect = partial(self._connect, to=(target, each.back))
                        group.start_soon(each.listener.serve, connect)
                scope = group.cancel_scope
                self._open[_key(forward)] = OpenPorts(address=address, ports=ports, scope=scope)
                task_status.started()
                await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await _close(ports)
                if network:
                    remove = self._daemon.client.remove_network
                    await self._daemon.try_remove(remove, network)

    async def _listen_for_containers(
        self, forward: PortForward, network: str
    ) -> tuple[str, tuple[OpenPort, ...]]:
        """Listen where containers reach this host; return the address and the ports."""
        direct = [
            OpenPort(front=front, back=back, listener=None)
            for front, back in forward.ports
            if front == back and forward.host in THIS_HOST and await _on_all_addresses(front)
        ]
        taken = [(each.front, each.back) for each in direct]
        wanted = tuple(pair for pair in forward.ports if pair not in taken)
        address = await self._gateway(networks.DEFAULT)
        try:
            # A bridge of Podman has its address only while a container is connected to it.
            listener = _early if self._daemon.podman else _now
            return address, (*await _listen(address, wanted, listener), *direct)
        except PortInUseError as error:
            self._options.log(f"{error}; the service of this host gets a network of its own")
        create = self._daemon.client.create_network
        await self._daemon.call(create, network, labels=self._daemon.labels)
        try:
            address = await self._gateway([network])
            return address, (*await _listen(address, wanted), *direct)
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await self._daemon.try_remove(self._daemon.client.remove_network, network)
            if isinstance(error, EngineError):  # Podman 5 gives an unused network no address here
                raise EngineError(f"{error}; give the service another frontend port") from error
            raise

    async def _gateway(self, names: Iterable[str]) -> str:
        """Return the address at which containers reach this host, by the first network found."""
        for name in names:
            found = await self._daemon.inspect(self._daemon.client.inspect_network, name)
            if found is not None and (address := networks.gateway(found)):
                return address
        raise EngineError(
            "the container engine has no bridge network by which containers reach this host"
        )

    async def _connect(self, stream: ByteStream, to: tuple[str, int]) -> None:
        """Copy bytes both ways until both sides are done; an error ends this connection only."""
        async with stream:
            try:
                async with (
                    await anyio.connect_tcp(*to) as other,
                    anyio.create_task_group() as group,
                ):
                    group.start_soon(_copy, stream, other)
                    group.start_soon(_copy, other, stream)
            except OSError:
                return  # the client's connection ends, as it does where nothing listens


async def _now(address: str, port: int) -> Listener[SocketStream]:
    """Listen at an address of this host; port 0 means any."""
    return await anyio.create_tcp_listener(local_host=address, local_port=port)


async def _early(address: str, port: int) -> Listener[SocketStream]:
    """Listen at an IPv4 address that this host may get later; port 0 means any."""
    opened = socket.socket(socket.AF_INET)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
        opened.setblocking(False)
        opened.bind((address, port))
        opened.listen()
        return await SocketListener.from_socket(opened)
    except BaseException:
        opened.close()
        raise


async def _listen(
    address: str,
    pairs: Iterable[tuple[int, int]],
    listener: Callable[[str, int], Awaitable[Listener[SocketStream]]] = _now,
) -> tuple[OpenPort, ...]:
    """Open a listener for each pair of ports, or none.

    Raises:
        PortInUseError: a port is in use.
        EngineError: this host cannot listen there.
    """
    ports: list[OpenPort] = []
    for front, back in pairs:
        try:
            opened: Any = await listener(address, front)
        except OSError as error:
            await _close(ports)
            kind = PortInUseError if error.errno == errno.EADDRINUSE else EngineError
            raise kind(f"cannot listen on {address}:{front}: {error.strerror}") from error
        port = int(opened.extra_attributes[SocketAttribute.local_port]())
        ports.append(OpenPort(front=port, back=back, listener=opened))
    return tuple(ports)


async def _close(ports: Iterable[OpenPort]) -> None:
    for each in ports:
        if each.listener is not None:
            await each.listener.aclose()


async def _on_all_addresses(port: int) -> bool:
    """Return whether a program of this host listens on all addresses under a port.

    Nothing else listens on a random address of the loopback network.
    """
    address = ".".join(["127", *(str(1 + secrets.randbelow(254)) for _ in range(3))])
    try:
        await _close(await _listen(address, [(port, port)]))
    except PortInUseError:
        return True
    except EngineError:  # not a system where all of 127/8 is this host
        return False
    return False


async def _copy(source: ByteStream, target: ByteStream) -> None:
    try:
        async for data in source:
            await target.send(data)
        await target.send_eof()
    except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await target.aclose()


def _key(forward: PortForward) -> str:
    """Return what identifies a forward; its service's image configuration cannot be hashed."""
    return repr(forward)


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
        pairs = [*((port if native else 0, port) for port in exposed), *pairs]
    if not pairs:
        raise EngineError("the service exposes no TCP port")
    return tuple((0 if random else front, back) for front, back in pairs)
