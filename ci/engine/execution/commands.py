"""Commands in containers.

A container stays alive behind a chain of commands: the next one runs in it (0.05 s) where its
files and mounts are those of the step before; every step's files are committed (0.05 s), so
that a branch, another process or a later session starts from there. Whoever comes second to the
same state gets a container of its own from the image.
"""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Any

import anyio
import docker.errors

from ci.engine.errors import EngineError
from ci.engine.execution.containers import MARK, Box, Boxes, Filled
from ci.engine.execution.docker_api import Daemon, DaemonError
from ci.engine.sources.secrets import Scrubber
from ci.engine.store import archive
from ci.engine.store.cache import Store
from ci.engine.store.tree import Entry
from ci.engine.values import Mount

#: A commit copies all since the container's start: past this many seconds a new one is cheaper.
SLOW_COMMIT = 0.4
#: What an engine writes for a command that could not be started: Docker, Podman by its runtime.
FAILED_TO_START = (b"OCI runtime exec failed", b"Error: runc: exec failed", b"Error: crun: ")
NOT_STARTED = "unable to start container process"
KILLED = (
    "the step's container was killed or removed from outside, or the container engine stops; "
    "nothing of the step is kept, so it runs again when it is asked for again"
)
#: Seconds in which the end of a container is told after the end of what ran in it.
MOMENT = 0.5
#: Seconds between looks at a command that goes on without its streams.
SLOW = 0.64
#: Bytes of output that are held at once.
PIECE = 1 << 16
#: Containers that wait for a next command; the one that waited longest goes first.
WAITING = 8


@dataclass(frozen=True, kw_only=True)
class Order:
    """A command with everything that it needs, all of it plain data."""

    key: str
    args: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    user: str = ""
    workdir: str = "/"
    stdin: bytes = b""
    mounts: tuple[Mount, ...] = ()
    hosts: dict[str, str] = field(default_factory=dict)
    hidden: tuple[bytes, ...] = ()  # secret values, replaced in the output


#: Contents in the store: stdout, stderr, both in their order.
Streams = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Output:
    """How a command ended; the streams are contents in the store."""

    code: int
    stdout: str
    stderr: str
    combined: str


class GoneError(EngineError):
    """A container was stopped or removed before a command could run in it."""


class Runner:
    """Runs commands, each in a container that holds the right state."""

    def __init__(self, store: Store, daemon: Daemon, boxes: Boxes) -> None:
        self._store = store
        self._daemon = daemon
        self._boxes = boxes
        self._idle: dict[str, tuple[Box, Order]] = {}  # by the key of the state that they hold
        self._restless: set[str] = set()  # images in which nothing can idle

    def take(self, key: str, order: Order) -> Box | None:
        """Return the container that holds a command's state, if its mounts and hosts fit too."""
        if key not in self._idle or _shape(self._idle[key][1]) != _shape(order):
            return None
        box, _ = self._idle.pop(key)
        box.waited = True
        return box

    async def fresh(self, image: str, filled: list[Filled], order: Order) -> Box:
        """Return a new running container of an image, or one for this command alone.

        An image without `sleep` cannot idle: its container runs the command itself.
        """
        if image not in self._restless:
            box = await self._boxes.create(image, filled, order.hosts)
            try:
                await self._daemon.call(self._daemon.client.start, box.id)
            except BaseException as error:
                await self._boxes.drop(box)
                if not (isinstance(error, DaemonError) and NOT_STARTED in str(error)):
                    raise
            else:
                return box
            self._restless.add(image)
        return await self.alone(image, filled, order)

    async def alone(self, image: str, filled: list[Filled], order: Order) -> Box:
        """Return a new container, not yet started, whose own process is this command."""
        box = await self._boxes.create(
            image,
            filled,
            order.hosts,
            list(order.args),
            environment=order.env,
            user=order.user or None,
            working_dir=order.workdir,
            stdin_open=bool(order.stdin),
        )
        box.once = True
        return box

    async def run(self, box: Box, order: Order) -> Output:
        """Run a command in a container, which is of no more use if this fails.

        Raises:
            GoneError: the container is not there any more, so nothing was run.
            EngineError: it went away while the command ran.
        """
        if box.once:
            code, streams = await self._daemon.call(self._run_alone, box.id, order)
        else:
            command = await self._command(box, order)
            start = partial(self._daemon.client.exec_start, command, socket=True)
            streams = await self._daemon.call(lambda: self._streams(start(), order))
            code = await self._exit_code(box, command)
        return self._judged(code, *streams)

    async def _command(self, box: Box, order: Order) -> str:
        try:
            made = await self._daemon.call(
                self._daemon.client.exec_create,
                box.id,
                list(order.args),
                environment=order.env,
                user=order.user,
                workdir=order.workdir,
                stdin=bool(order.stdin),
            )
        except DaemonError as error:
            if error.status in (404, 409):  # removed, or stopped
                raise GoneError(KILLED) from error
            raise
        return str(made["Id"])

    def _run_alone(self, container: str, order: Order) -> tuple[int, Streams]:
        """Start a container and keep its output; runs in a thread until the container ends."""
        client = self._daemon.client
        params = {"stdin": int(bool(order.stdin)), "stdout": 1, "stderr": 1, "stream": 1}
        connection = None
        try:
            connection = client.attach_socket(container, params=params)  # where Podman makes it
            client.start(container)
        except docker.errors.APIError as error:
            if connection is not None:
                connection._response.close()
            if NOT_STARTED not in str(error.explanation):
                raise
            text = self._store.add_bytes(str(error.explanation).encode())
            return 1, (self._store.add_bytes(b""), text, text)
        streams = self._streams(connection, order)
        return int(client.wait(container)["StatusCode"]), streams

    def _streams(self, connection: Any, order: Order) -> Streams:
        raw: socket.socket = getattr(connection, "_sock", connection)
        raw.settimeout(None)

        def send() -> None:
            with contextlib.suppress(OSError):  # the command may end before it has read all
                raw.sendall(order.stdin)
                raw.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send, daemon=True)
        try:
            if order.stdin:
                sender.start()
            return self.keep(frames(connection._response.raw._fp.fp), order.hidden)
        finally:
            connection._response.close()
            raw.close()

    def keep(self, frames: Iterator[tuple[int, bytes]], hidden: tuple[bytes, ...]) -> Streams:
        """Put output into the store: stdout, stderr and both in their order."""
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

    async def _exit_code(self, box: Box, command: str) -> int:
        """Wait for a command whose streams have ended, and return its exit code.

        They end a moment before the daemon knows of it, or long before: a command may close them.
        """
        pause = 0.01
        while (code := await self._ended(command)) is None:
            if pause == SLOW and not await self._daemon.running(box.id):
                raise EngineError(KILLED)
            await anyio.sleep(pause)
            pause = min(2 * pause, SLOW)
        if code == 137 and await self._ends(box):
            raise EngineError(KILLED)
        return code

    async def _ends(self, box: Box) -> bool:
        """Whether a container ends, by which all in it get a KILL; told a moment after that."""
        with anyio.move_on_after(MOMENT):
            while await self._daemon.running(box.id):  # noqa: ASYNC110 (it sends no event)
                await anyio.sleep(0.02)
            return True
        return False

    async def _ended(self, command: str) -> int | None:
        try:
            found = await self._daemon.call(self._daemon.client.exec_inspect, command)
        except DaemonError as error:
            if error.status == 404:  # it goes with its container
                raise EngineError(KILLED) from error
            raise
        return None if found["Running"] or found["ExitCode"] is None else int(found["ExitCode"])

    def _judged(self, code: int, stdout: str, stderr: str, combined: str) -> Output:
        # A program that is not there is a failed command with exit code 1, as Dagger reports it.
        if code in (126, 127):
            head, _, _ = self._store.ends(combined, first=max(map(len, FAILED_TO_START)))
            if head.startswith(FAILED_TO_START):
                empty = self._store.add_bytes(b"")
                return Output(code=1, stdout=empty, stderr=combined, combined=combined)
        return Output(code=code, stdout=stdout, stderr=stderr, combined=combined)

    # --- after a command ----------------------------------------------------------------------
    async def settle(self, box: Box, order: Order) -> tuple[str, bool]:
        """Commit what a command left; return the image and whether the container can go on."""
        if box.once:
            return await self._daemon.commit(box.id, order.key[:40]), False
        alone = await self._daemon.processes(box.id) == 1
        if not alone:  # what a command leaves running ends with it
            await self._daemon.call(self._daemon.client.kill, box.id)
        start = time.monotonic()
        image = await self._daemon.commit(box.id, order.key[:40])
        temporary = any(mount.kind == "temp" for mount in order.mounts)
        return image, alone and not temporary and time.monotonic() - start < SLOW_COMMIT

    async def changed(self, box: Box, mount: Mount) -> bool:
        """Whether anything below a mounted directory changed since it was filled."""
        if mount.read_only:
            return False
        if mount.kind == "file" or not box.marked:
            return True
        command = ["find", mount.path, "-cnewer", MARK, "-print", "-quit"]
        order = Order(key="", args=tuple(command), user="0")
        try:
            found = await self.run(box, order)
        except DaemonError:
            return True
        return found.code != 0 or bool(self._store.ends(found.combined)[2])

    def offer(self, key: str, box: Box, order: Order) -> list[Box]:
        """Keep a container for who comes next; return those that must go for it."""
        gone = [self._idle.pop(key)[0]] if key in self._idle else []
        self._idle[key] = (box, order)
        while len(self._idle) > WAITING:
            gone.append(self._idle.pop(next(iter(self._idle)))[0])
        return gone

    async def put(self, box: Box, entries: dict[str, Entry], path: str = "/") -> None:
        """Put files below a directory of a running container."""
        await self._daemon.put(box.id, path, archive.layer(self._store, entries, ()))
        box.touched = True


def _shape(order: Order) -> Any:
    mounts = [(m.path, m.kind, m.name, m.read_only, m.secret, m.owner) for m in order.mounts]
    return mounts, order.hosts


def frames(reader: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the pieces of a command's output, each with the number of its stream (1 or 2).

    Read from the response's own buffer, not from the socket below as docker-py does: what comes in
    one packet with the answer's headers is in the buffer already. Format: Docker's API, "Stream
    format" of ContainerAttach.
    """
    while len(head := reader.read(8)) == 8:
        stream, left = struct.unpack(">BxxxL", head)
        while left and (data := reader.read(min(left, PIECE))):
            yield stream, data
            left -= len(data)
