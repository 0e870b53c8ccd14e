"""Commands in containers.

The container of a command stays alive and idle. The next command runs in it (0.05 s) if its files
and mounts are those that the command before left. The files of every step are recorded, so a
branch, another process or a later session starts from them (see `recording`). Only one command can
continue in an idle container; a second one gets a new container of the same files.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import docker.errors
from docker.types import LogConfig

from ci.engine.docker.docker_api import IDLE, Daemon, DaemonError
from ci.engine.docker.idle import SHELL, frames
from ci.engine.errors import EngineError
from ci.engine.execution.containers import (
    NOT_STARTED,
    MountContent,
    StepContainer,
    StepContainers,
)
from ci.engine.sources.secrets import Scrubber
from ci.engine.store import archive
from ci.engine.store.cache import Store
from ci.engine.store.overlay import Layer
from ci.engine.values import Mount

#: How the output begins if a command could not be started: Docker; Podman, by its runtime.
FAILED_TO_START = (b"OCI runtime exec failed", b"Error: runc: exec failed", b"Error: crun: ")
KILLED = (
    "the step's container was killed or removed from outside, or the container engine stopped; "
    "nothing of the step is cached: run it again"
)
#: Seconds within which the daemon reports the end of a container whose processes have ended; it
#: counts only where the process that idles cannot be asked.
END_REPORTED = 2.0
#: Longest pause, seconds, between two checks of a command that has closed its streams.
LONGEST_PAUSE = 0.64
#: What a looking process prints is for the engine alone, and may be much.
NO_LOG = LogConfig(type="none")
#: Containers that idle at a time; the one that idled longest is removed first.
IDLE_CONTAINERS = 8


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command with everything that it needs, as plain data."""

    key: str
    args: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    user: str = ""
    workdir: str = "/"
    stdin: bytes = b""
    mounts: tuple[Mount, ...] = ()
    hosts: dict[str, str] = field(default_factory=dict)
    hidden: tuple[bytes, ...] = ()  # secret values, masked in the output


#: Contents in the store: stdout, stderr, both in the order of their output.
Streams = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class CommandOutput:
    """The exit code of a command and its streams, which are contents in the store."""

    code: int
    stdout: str
    stderr: str
    combined: str


class GoneError(EngineError):
    """A container was stopped or removed before a command could run in it."""


class CommandRunner:
    """Runs commands, each in a container that holds the right files."""

    def __init__(self, store: Store, daemon: Daemon, containers: StepContainers) -> None:
        self._store = store
        self._daemon = daemon
        self._containers = containers
        # By the key of the step whose files a container holds: its shape, itself.
        self._idle: dict[str, tuple[str, StepContainer]] = {}
        self._cannot_idle: set[tuple[str, ...]] = set()  # an image, a program that it has not got

    def take_idle(self, key: str, shape: str) -> StepContainer | None:
        """Return the idle container that a step left, if it has this shape (see `Keys.shape`)."""
        if key not in self._idle or self._idle[key][0] != shape:
            return None
        _, container = self._idle.pop(key)
        container.reused = True
        return container

    def keep_idle(self, key: str, shape: str, container: StepContainer) -> list[StepContainer]:
        """Keep a container for the next command; return those that are to be removed for it."""
        removed = [self._idle.pop(key)[1]] if key in self._idle else []
        self._idle[key] = (shape, container)
        while len(self._idle) > IDLE_CONTAINERS:
            removed.append(self._idle.pop(next(iter(self._idle)))[1])
        return removed

    async def new_container(
        self, image: str, contents: list[MountContent], command: Command
    ) -> StepContainer:
        """Return a new idle container of an image, or a dedicated one.

        A container of an image without `sh` and `sleep` cannot idle: it runs the command itself.
        """
        for idle in (SHELL, IDLE):
            if (image, *idle) not in self._cannot_idle:
                if container := await self._idling(image, contents, command, idle):
                    return container
                self._cannot_idle.add((image, *idle))
        return await self.dedicated(image, contents, command)

    async def _idling(
        self, image: str, contents: list[MountContent], command: Command, idle: list[str]
    ) -> StepContainer | None:
        """Return a running container that idles by a program; None if the image has not got it."""
        looks = idle is SHELL and not self._daemon.podman
        started = time.monotonic()
        host = {"log_config": NO_LOG} if looks else {}
        container = await self._containers.create(
            image, contents, command.hosts, idle, stdin_open=looks, host=host
        )
        try:
            if looks:
                await self._daemon.call(self._daemon.lookers.attach, container.id)
            await self._daemon.call(self._daemon.client.start, container.id)
            if looks:
                await self._daemon.call(self._daemon.lookers.begin, container.id)
        except BaseException as error:
            await self._containers.drop(container)
            if isinstance(error, DaemonError) and NOT_STARTED in str(error):
                return None
            raise
        container.start_seconds = time.monotonic() - started
        return container

    async def dedicated(
        self, image: str, contents: list[MountContent], command: Command, **settings: Any
    ) -> StepContainer:
        """Return a new container, not yet started, whose own process is this command."""
        container = await self._containers.create(
            image,
            contents,
            command.hosts,
            list(command.args),
            environment=command.env,
            user=command.user or None,
            working_dir=command.workdir,
            stdin_open=bool(command.stdin),
            **settings,
        )
        container.dedicated = True
        return container

    async def run(self, container: StepContainer, command: Command) -> CommandOutput:
        """Run a command in a container, which cannot be used again if this raises.

        Raises:
            GoneError: the container does not exist any more, so nothing was run.
            EngineError: it was removed while the command ran.
        """
        if container.dedicated:
            code, streams = await self._daemon.call(self._run_dedicated, container.id, command)
        else:
            exec_id = await self._create_exec(container, command)
            start = partial(self._daemon.client.exec_start, exec_id, socket=True)
            streams = await self._daemon.call(lambda: self._streams(start(), command))
            code = await self._exit_code(container, exec_id)
        return self._output(code, *streams)

    async def _create_exec(self, container: StepContainer, command: Command) -> str:
        try:
            made = await self._daemon.call(
                self._daemon.client.exec_create,
                container.id,
                list(command.args),
                environment=command.env,
                user=command.user,
                workdir=command.workdir,
                stdin=bool(command.stdin),
            )
        except DaemonError as error:
            if error.status in (404, 409):  # removed, or stopped
                raise GoneError(KILLED) from error
            raise
        return str(made["Id"])

    def _run_dedicated(self, container: str, command: Command) -> tuple[int, Streams]:
        """Start a container and keep its output; blocks until the container ends."""
        client = self._daemon.client
        params = {"stdin": int(bool(command.stdin)), "stdout": 1, "stderr": 1, "stream": 1}
        connection = None
        try:
            connection = client.attach_socket(container, params=params)  # Podman creates it here
            client.start(container)
        except docker.errors.APIError as error:
            if connection is not None:
                connection._response.close()
            if NOT_STARTED not in str(error.explanation):
                raise
            text = self._store.add_bytes(str(error.explanation).encode())
            return 1, (self._store.add_bytes(b""), text, text)
        streams = self._streams(connection, command)
        return int(client.wait(container)["StatusCode"]), streams

    def _streams(self, connection: Any, command: Command) -> Streams:
        raw: socket.socket = getattr(connection, "_sock", connection)
        raw.settimeout(None)

        def send() -> None:
            with contextlib.suppress(OSError):  # the command may end before it has read all
                raw.sendall(command.stdin)
                raw.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send, daemon=True)
        try:
            if command.stdin:
                sender.start()
            return self.keep(frames(connection._response.raw._fp.fp), command.hidden)
        finally:
            connection._response.close()
            raw.close()

    def keep(self, frames: Iterator[tuple[int, bytes]], hidden: tuple[bytes, ...]) -> Streams:
        """Put output into the store, secrets masked: stdout, stderr and both in their order."""
        scrubbers = {1: Scrubber(hidden), 2: Scrubber(hidden)}
        with (
            self._store.writer() as (out, stdout),
            self._store.writer() as (err, stderr),
            self._store.writer() as (both, combined),
        ):
            files = {1: out, 2: err}

            def write(stream: int, data: bytes) -> None:
                files[stream].write(data)
                both.write(data)

            for stream, data in frames:
                write(stream, scrubbers[stream].feed(data))
            for stream, scrubber in scrubbers.items():
                write(stream, scrubber.feed(b"", last=True))
        return stdout[0], stderr[0], combined[0]

    async def _exit_code(self, container: StepContainer, exec_id: str) -> int:
        """Wait for a command whose streams have ended, and return its exit code.

        The streams end shortly before the daemon reports the exit code, or long before: a command
        may close them.
        """
        pause = 0.01
        while (code := await self._reported_code(container, exec_id)) is None:
            if pause == LONGEST_PAUSE and not await self._daemon.running(container.id):
                raise EngineError(KILLED)
            await anyio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        if code == 137 and await self._ends(container):
            raise EngineError(KILLED)
        return code

    async def _ends(self, container: StepContainer) -> bool:
        """Return whether a container ends, which kills all its processes with signal 9."""
        answers = await self._daemon.call(self._daemon.lookers.answers, container.id)
        if answers is not None:
            return not answers
        with anyio.move_on_after(END_REPORTED):
            while await self._daemon.running(container.id):  # noqa: ASYNC110 (it sends no event)
                await anyio.sleep(0.02)
            return True
        return False

    async def _reported_code(self, container: StepContainer, exec_id: str) -> int | None:
        try:
            found = await self._daemon.call(self._daemon.client.exec_inspect, exec_id)
        except DaemonError as error:
            if not await self._daemon.running(container.id):  # removed with its container
                raise EngineError(KILLED) from error
            raise
        return None if found["Running"] or found["ExitCode"] is None else int(found["ExitCode"])

    def _output(self, code: int, stdout: str, stderr: str, combined: str) -> CommandOutput:
        # A missing program is a failed command with exit code 1, as Dagger reports it.
        if code in (126, 127):
            head, _, _ = self._store.head_and_tail(combined, first=max(map(len, FAILED_TO_START)))
            if head.startswith(FAILED_TO_START):
                empty = self._store.add_bytes(b"")
                return CommandOutput(code=1, stdout=empty, stderr=combined, combined=combined)
        return CommandOutput(code=code, stdout=stdout, stderr=stderr, combined=combined)

    async def put(self, container: StepContainer, layer: Layer, path: str = "/") -> None:
        """Put files below a directory of a running container."""
        chunks = archive.layer(self._store, layer, int(time.time()))
        await self._daemon.put(container.id, path, chunks)
        container.files_added = True
