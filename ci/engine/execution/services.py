"""Service containers: started once a session, checked until they listen, stopped with it."""

import time
from dataclasses import dataclass
from typing import Any

import anyio

from ci.common import networks
from ci.engine.errors import EngineError
from ci.engine.execution.commands import Command
from ci.engine.execution.containers import StepContainer
from ci.engine.execution.keys import Keys
from ci.engine.execution.outputs import shorten
from ci.engine.execution.resources import Resources
from ci.engine.execution.steps import Steps
from ci.engine.sources.secrets import Scrubber
from ci.engine.values import Exec, Port, Service

#: Seconds a service may take to listen on its ports.
START_TIMEOUT = 60
#: Lines of a service's log that an error shows.
LOG_LINES = 20


@dataclass(frozen=True, kw_only=True)
class RunningService:
    """A service that listens on its ports."""

    container: StepContainer
    address: str


class Services:
    """All service containers of a session."""

    def __init__(self, resources: Resources, keys: Keys, steps: Steps) -> None:
        self._options = resources.options
        self._daemon = resources.daemon
        self._containers = resources.containers
        self._flights = resources.flights
        self._keys = keys
        self._steps = steps
        self._running: dict[str, RunningService] = {}

    async def hostname(self, service: Service) -> str:
        """Return the name by which containers bound to a service reach it."""
        return service.hostname or f"service-{(await self._keys.of_service(service))[:12]}"

    async def start(self, service: Service) -> RunningService:
        """Start a service unless it runs, and wait until it listens on its ports.

        Raises:
            EngineError: it ended or does not listen; with the last lines of its log.
        """
        key = await self._keys.of_service(service)
        if key in self._running:
            if await self._daemon.running(self._running[key].container.id):
                return self._running[key]
            self._options.log(f"service {shorten(service.args)} ended; starting it again")
            await self.stop(service)
        return await self._flights.run(f"service {key}", lambda: self._start(key, service))

    async def exit_code(self, service: Service) -> int:
        """Wait until a service has ended; return its exit code."""
        running = await self.start(service)
        wait = self._daemon.client.wait
        found = await self._daemon.call(wait, running.container.id, timeout=None)
        return int(found["StatusCode"])

    async def stop(self, service: Service) -> None:
        """Stop a service if it runs."""
        running = self._running.pop(await self._keys.of_service(service), None)
        if running is not None:
            await self._containers.remove(running.container)

    async def _start(self, key: str, service: Service) -> RunningService:
        daemon, started = self._daemon, time.monotonic()
        step = Exec(before=service.container, args=service.args)
        container, command = await self._steps.dedicated(step, key)
        try:
            await daemon.call(daemon.client.start, container.id)
            found = await daemon.call(daemon.client.inspect_container, container.id)
            running = RunningService(container=container, address=networks.address(found))
            await self._wait_until_listening(running, service.container.ports, command)
        except BaseException:
            await self._containers.drop(container)
            raise
        self._running[key] = running
        self._options.log(f"service {shorten(service.args)} {time.monotonic() - started:.1f} s")
        return running

    async def _wait_until_listening(
        self, running: RunningService, ports: tuple[Port, ...], command: Command
    ) -> None:
        daemon, deadline = self._daemon, time.monotonic() + START_TIMEOUT
        wanted = [p for p in ports if p.protocol == "TCP" and not p.skip_healthcheck]
        while not all([await _accepts(running.address, port) for port in wanted]):
            if time.monotonic() > deadline:
                what = f"does not listen after {START_TIMEOUT} s"
                raise await self._error(running.container, command, what)
            await anyio.sleep(0.05)
            found = await daemon.call(daemon.client.inspect_container, running.container.id)
            if not found["State"]["Running"]:
                what = f"ended with exit code {found['State']['ExitCode']}"
                raise await self._error(running.container, command, what)

    async def _error(self, container: StepContainer, command: Command, what: str) -> EngineError:
        logs = self._daemon.client.logs
        log = await self._daemon.call(logs, container.id, tail=LOG_LINES)
        words = Scrubber(command.hidden).feed(log, last=True).decode(errors="replace").rstrip()
        return EngineError(f"service `{' '.join(command.args)}` {what}\n{words}".rstrip())


async def _accepts(address: str, port: Port) -> bool:
    with anyio.move_on_after(1):
        try:
            stream: Any = await anyio.connect_tcp(address, port.port)
        except OSError:
            return False
        await stream.aclose()
        return True
    return False
