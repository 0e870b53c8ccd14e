"""Containers that run beside others: started once, waited for, stopped with the session."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio

from ci.engine.errors import EngineError
from ci.engine.execution.commands import Order
from ci.engine.execution.containers import Box
from ci.engine.ids import Call
from ci.engine.sources.secrets import Scrubber
from ci.engine.values import Container, Forward, Port, Ran, Service

if TYPE_CHECKING:
    from ci.engine.execution.session import Engine

#: Seconds a service may take to listen on its ports.
DEADLINE = 60


@dataclass(frozen=True, kw_only=True)
class Running:
    """A service that answers."""

    box: Box
    address: str


class Services:
    """All services of a session."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._running: dict[str, Running] = {}

    async def key(self, service: Service) -> str:
        """Return the key of a service: of its container and its command."""
        return await self._engine.key(Ran(before=service.container, args=service.args))

    async def ports(self, service: Service) -> tuple[Port, ...]:
        """Return what a service listens on."""
        return service.container.ports

    async def hostname(self, service: Service | Forward) -> str:
        """Return the name by which containers bound to a service can reach it."""
        if isinstance(service, Forward):
            return service.hostname
        return service.hostname or f"service-{(await self.key(service))[:12]}"

    async def hosts(self, container: Container) -> dict[str, str]:
        """Start all services of a container and return their addresses by name."""
        found: dict[str, str] = {}

        async def bind(alias: str, call: Call) -> None:
            service = await self._engine.value(call)
            running = await self._engine.serving(service).start(service)
            found[alias] = found[await self.hostname(service)] = running.address

        try:
            async with anyio.create_task_group() as group:
                for alias, call in container.services:
                    group.start_soon(bind, alias, call)
        except ExceptionGroup as errors:  # the first one says enough
            raise errors.exceptions[0] from None
        return dict(sorted(found.items()))

    async def start(self, service: Service) -> Running:
        """Start a service unless it runs, and wait until it listens on its ports.

        Raises:
            EngineError: it ended or does not listen; with its last lines.
        """
        key = await self.key(service)
        if key in self._running:
            if await self._engine.daemon.running(self._running[key].box.id):
                return self._running[key]
            self._engine.options.log(f"service {' '.join(service.args)[:80]} ended; starts again")
            await self.stop(service)
        return await self._engine.once.do(f"service {key}", lambda: self._start(key, service))

    async def ended(self, service: Service) -> int:
        """Wait until a service that runs has ended; return its exit code."""
        daemon, running = self._engine.daemon, await self.start(service)
        found = await daemon.call(daemon.client.wait, running.box.id, timeout=None)
        return int(found["StatusCode"])

    async def stop(self, service: Service) -> None:
        """Stop a service if it runs."""
        running = self._running.pop(await self.key(service), None)
        if running is not None:
            await self._engine.boxes.remove(running.box)

    async def _start(self, key: str, service: Service) -> Running:
        daemon, started = self._engine.daemon, time.monotonic()
        ran = Ran(before=service.container, args=service.args)
        box, order = await self._engine.steps.alone(ran, key)
        try:
            await daemon.call(daemon.client.start, box.id)
            found = await daemon.call(daemon.client.inspect_container, box.id)
            address = found["NetworkSettings"]["IPAddress"]
            await self._listening(box, address, service.container.ports, order)
        except BaseException:
            await self._engine.boxes.drop(box)
            raise
        self._running[key] = Running(box=box, address=address)
        took = time.monotonic() - started
        self._engine.options.log(f"service {' '.join(service.args)[:80]} {took:.1f} s")
        return self._running[key]

    async def _listening(
        self, box: Box, address: str, ports: tuple[Port, ...], order: Order
    ) -> None:
        daemon, deadline = self._engine.daemon, time.monotonic() + DEADLINE
        wanted = [p for p in ports if p.protocol == "TCP" and not p.skip_healthcheck]
        while not all([await _accepts(address, port) for port in wanted]):
            if time.monotonic() > deadline:
                raise await self._error(box, order, f"does not listen after {DEADLINE} s")
            await anyio.sleep(0.05)
            state = (await daemon.call(daemon.client.inspect_container, box.id))["State"]
            if not state["Running"]:
                raise await self._error(box, order, f"ended with exit code {state['ExitCode']}")

    async def _error(self, box: Box, order: Order, what: str) -> EngineError:
        log = await self._engine.daemon.call(self._engine.daemon.client.logs, box.id, tail=20)
        words = Scrubber(order.hidden).feed(log, last=True).decode(errors="replace").rstrip()
        return EngineError(f"service `{' '.join(order.args)}` {what}\n{words}".rstrip())


async def _accepts(address: str, port: Port) -> bool:
    with anyio.move_on_after(1):
        try:
            stream: Any = await anyio.connect_tcp(address, port.port)
        except OSError:
            return False
        await stream.aclose()
        return True
    return False
