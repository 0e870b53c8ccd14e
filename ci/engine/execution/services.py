"""Service containers: started once a session, checked until they are ready, stopped with it."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import anyio
import docker.types
from anyio.abc import TaskStatus

from ci.common import networks
from ci.common.concurrency import first, until
from ci.engine.docker.docker_api import DaemonError
from ci.engine.errors import EngineError, ServiceFailedError
from ci.engine.execution import readiness
from ci.engine.execution.commands import Command, CommandRunner
from ci.engine.execution.containers import StepContainer
from ci.engine.execution.keys import Keys
from ci.engine.execution.outputs import shorten, stream_text
from ci.engine.execution.resources import BoundServices, Resources
from ci.engine.execution.steps import Steps
from ci.engine.sources.secrets import Scrubber
from ci.engine.values import Container, Exec, Service

#: Seconds that a service has to end by itself after SIGTERM.
TERMINATE_TIMEOUT = 10
#: Lines of a service's output that an error has, of each stream.
LOG_LINES = 1000
#: What Docker keeps of a service's output; without it a service fills the disk.
LOGS = docker.types.LogConfig(type="json-file", config={"max-size": "10m", "max-file": "2"})
#: Part of Docker's error where its program for the option `init` is not installed.
NO_INIT = "docker-init"


@dataclass(kw_only=True)
class RunningService:
    """A service whose process runs, until `ended` is set."""

    container: StepContainer
    command: Command
    address: str
    ended: anyio.Event = field(default_factory=anyio.Event)
    code: int = 0
    error: EngineError | None = None  # set before `ended`


class Services:
    """All service containers of a session."""

    def __init__(
        self, resources: Resources, keys: Keys, steps: Steps, bindings: Callable[[], BoundServices]
    ) -> None:
        self._options = resources.options
        self._store = resources.store
        self._daemon = resources.daemon
        self._containers = resources.containers
        self._flights = resources.flights
        self._group = resources.group
        self._keys = keys
        self._steps = steps
        self._bindings = bindings
        self._runner = CommandRunner(resources.store, resources.daemon, resources.containers)
        self._running: dict[str, RunningService] = {}
        self._init = not resources.daemon.podman

    async def hostname(self, service: Service) -> str:
        """Return the name by which containers reach a service."""
        return service.hostname or f"service-{(await self._keys.of_service(service))[:12]}"

    async def start(self, service: Service) -> RunningService:
        """Start a service unless it runs, and wait until it is ready.

        Raises:
            EngineError: it ended, does not listen or its health check failed; with its output.
        """
        key = await self._keys.of_service(service)
        running = self._running.get(key)
        if running is not None and not running.ended.is_set():
            return running
        if running is not None:
            self._options.log(f"service {shorten(service.args)} ended; starting it again")
        start = partial(self._group.start, self._serve, key, service)
        return await self._flights.run(f"service {key}", start)

    async def exit_code(self, service: Service) -> int:
        """Wait until a service has ended; return its exit code."""
        running = await self.start(service)
        await running.ended.wait()
        return running.code

    async def end(self, service: Service) -> EngineError:
        """Wait until a service that was started has ended; return the error that says how."""
        running = self._running[await self._keys.of_service(service)]
        await running.ended.wait()
        return running.error or EngineError("it was stopped")

    async def stop(self, service: Service, *, kill: bool = False) -> None:
        """Stop a service if it runs: by SIGTERM, unless it is killed or does not end in time."""
        running = self._running.get(await self._keys.of_service(service))
        if running is None or running.ended.is_set():
            return
        if not kill:
            await self._signal(running, "SIGTERM")
            with anyio.move_on_after(TERMINATE_TIMEOUT):
                await running.ended.wait()
        await self._signal(running, "SIGKILL")
        await running.ended.wait()

    async def _signal(self, running: RunningService, signal: str) -> None:
        with suppress(DaemonError):  # it has just ended
            await self._daemon.call(self._daemon.client.kill, running.container.id, signal)

    # --- the life of one service ------------------------------------------------------------
    async def _serve(
        self, key: str, service: Service, *, task_status: TaskStatus[RunningService]
    ) -> None:
        """Run a service until it ends. Its caches are locked meanwhile.

        An error before it is ready is raised to the caller of `start`, a later one is kept.
        """
        began = time.monotonic()
        step = Exec(before=service.container, args=service.args)
        command = await self._steps.command(step, key)
        async with self._steps.mounts(step) as mounts:
            command = replace(command, mounts=mounts)
            running = await self._launched(step, command, await self.hostname(service))
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._watch, running)
                    group.start_soon(self._end_with_bound, running, service.container)
                    await self._until_ready(running, service.container)
                    self._running[key] = running
                    took = time.monotonic() - began
                    self._options.log(f"service {shorten(service.args)} {took:.1f} s")
                    task_status.started(running)
                    await running.ended.wait()
                    group.cancel_scope.cancel()
            except ExceptionGroup as errors:
                raise first(errors) from errors
            finally:
                running.ended.set()
                await self._containers.drop(running.container)

    async def _launched(self, step: Exec, command: Command, hostname: str) -> RunningService:
        """Start a service's container; its process gets signals from an init process."""
        daemon = self._daemon
        container = await self._steps.dedicated(
            step, command, hostname=hostname[:63], host={"init": self._init, "log_config": LOGS}
        )
        try:
            await daemon.call(daemon.client.start, container.id)
            found = await daemon.call(daemon.client.inspect_container, container.id)
        except BaseException as error:
            await self._containers.drop(container)
            if not (self._init and isinstance(error, DaemonError) and NO_INIT in str(error)):
                raise
        else:
            address = networks.address(found)
            return RunningService(container=container, command=command, address=address)
        self._init = False
        return await self._launched(step, command, hostname)

    async def _watch(self, running: RunningService) -> None:
        """Wait until a service's process has ended, and keep how."""
        try:
            wait = self._daemon.client.wait
            found = await self._daemon.call(wait, running.container.id, timeout=None)
            running.code = int(found["StatusCode"])
            error = await self._failure(running)
        except EngineError as unknown:
            error = unknown
        running.error = running.error or error
        running.ended.set()

    async def _end_with_bound(self, running: RunningService, container: Container) -> None:
        """Stop a service when one that it is bound to has ended."""
        running.error = await self._bindings().bound_end(container)
        await self._signal(running, "SIGKILL")

    async def _until_ready(self, running: RunningService, container: Container) -> None:
        if running.address:
            check = partial(self._ready, running, container)
            if await until(check, running.ended.wait):
                return
        await running.ended.wait()
        raise running.error or EngineError("the service ended")

    async def _ready(self, running: RunningService, container: Container) -> bool:
        """Return True as soon as a service is ready."""

        async def run(args: tuple[str, ...]) -> EngineError | None:
            beside = replace(running.container, dedicated=False)
            output = await self._runner.run(beside, replace(running.command, args=args))
            texts = [stream_text(self._store, each) for each in (output.stdout, output.stderr)]
            return ServiceFailedError(list(args), output.code, *texts) if output.code else None

        if container.healthcheck is not None:
            await readiness.until_healthy(container.healthcheck, run)
        else:
            await readiness.until_listening(running.address, container.ports)
        return True

    async def _failure(self, running: RunningService) -> EngineError:
        """Return the error of a service that has ended, with its output."""
        logs = partial(self._daemon.call, self._daemon.client.logs, running.container.id)
        found = [
            await logs(stdout=out, stderr=err, tail=LOG_LINES)
            for out, err in ((True, False), (False, True), (True, True))
        ]
        stdout, stderr, both = (
            Scrubber(running.command.hidden).feed(log, last=True).decode(errors="replace")
            for log in found
        )
        if running.code == 0:
            return EngineError(f"it ended\n{both}".rstrip())
        args = list(running.command.args)
        return ServiceFailedError(args, running.code, stdout, stderr)
