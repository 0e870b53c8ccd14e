"""Container engines of the tests' own: they can be stopped, killed and filled up."""

import io
import os
import select
import shutil
import signal
import socket
import socketserver
import subprocess
import tarfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import docker

from ci import engine
from tests.engine.behaviours import IMAGE

#: A daemon sees no network and no process but its own, and dies with the first process in there.
APART = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
SMALL = "small:1"
#: All that steps of these tests and the engine call: two megabytes instead of two hundred.
PROGRAMS = "/bin/sh /bin/sleep /bin/cat /bin/dd /bin/date /usr/bin/find"


def podman_version(client: docker.DockerClient) -> int:
    """Return the major version of a Podman; 0 of another container engine."""
    parts = client.version().get("Components") or []
    found = [part["Version"] for part in parts if part["Name"] == "Podman Engine"]
    return int(found[0].split(".")[0]) if found else 0


def small(client: docker.DockerClient, image: str) -> bytes:
    """Return an image of a shell and little more, as a tar archive to import."""
    libraries = f"$(ldd {PROGRAMS} | grep -o '/lib[^ ]*' | sort -u)"
    script = f"exec tar -chPf /small.tar --transform=s,^/,, {PROGRAMS} {libraries}"
    container = client.containers.create(image, ["sh", "-c", script])
    try:
        container.start()
        assert container.wait()["StatusCode"] == 0, container.logs()
        outer = b"".join(container.get_archive("/small.tar")[0])
    finally:
        container.remove(force=True)
    with tarfile.open(fileobj=io.BytesIO(outer)) as tar:
        inner = tar.extractfile("small.tar")
        assert inner is not None
        return inner.read()


@dataclass(kw_only=True)
class OwnDaemon:
    """A dockerd with a root and a socket of its own; its containers have no network."""

    home: Path
    image: bytes
    started: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"unix://{self.home}/d.sock"

    def options(self, options: engine.Options) -> engine.Options:
        """Return options of a session on this daemon."""
        cache = self.home / "cache"
        return replace(options, docker=self.url, cache_dir=cache, images={IMAGE: SMALL})

    async def start(self) -> None:
        """Start it and wait until it answers; the small image is there."""
        process = self._spawn()
        with anyio.fail_after(60):
            while not await anyio.to_thread.run_sync(self._answers):
                assert process.poll() is None, (self.home / "log").read_text()[-2000:]
                await anyio.sleep(0.05)

    def _spawn(self) -> "subprocess.Popen[bytes]":
        (self.home / "data").mkdir(exist_ok=True)
        command = [
            *APART,
            *("dockerd", "--host", self.url, "--data-root", f"{self.home}/data"),
            *("--exec-root", f"{self.home}/exec", "--pidfile", f"{self.home}/pid"),
            *("--bridge", "none", "--iptables=false", "--shutdown-timeout", "1"),
        ]
        with (self.home / "log").open("ab") as log:
            self.started.append(subprocess.Popen(command, stdout=log, stderr=log))
        return self.started[-1]

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(f"{self.home}/d.sock") != 0:
                return False
        try:
            with self.client() as client:
                known = client.images.list(SMALL)
        except docker.errors.DockerException:  # it listens already, and does not answer yet
            return False
        if not known:
            with self.client() as client:
                client.api.import_image_from_data(self.image, repository="small", tag="1")
        return True

    @contextmanager
    def client(self) -> Iterator[docker.DockerClient]:
        """Look at it from outside."""
        client = docker.DockerClient(base_url=self.url)
        try:
            yield client
        finally:
            client.close()

    def containers(self) -> list[str]:
        """Return the ids of what is there, running or not."""
        with self.client() as client:
            return [each.id or "" for each in client.containers.list(all=True, ignore_removed=True)]

    async def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal it and wait for its end."""
        process = self.started.pop()
        if number == signal.SIGKILL:
            process.kill()
        else:
            os.kill(children(process)[0], number)
        await anyio.to_thread.run_sync(process.wait)
        (self.home / "pid").unlink(missing_ok=True)
        # What a restart of the machine clears: the number of a containerd that is no more.
        shutil.rmtree(self.home / "exec", ignore_errors=True)

    def end(self) -> None:
        """Kill what still runs."""
        for process in self.started:
            process.kill()
            process.wait()


def children(process: "subprocess.Popen[bytes]") -> list[int]:
    """Return the ids of a process's children."""
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(word) for word in text.split()]


@asynccontextmanager
async def tmpfs(path: Path, megabytes: int) -> AsyncIterator[None]:
    """Have a small disk at a path."""
    size = f"size={megabytes}m"
    await anyio.Path(path).mkdir(exist_ok=True)
    await anyio.run_process(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(path)])
    try:
        yield
    finally:
        await anyio.run_process(["umount", "--lazy", str(path)])


async def enlarge(path: Path, megabytes: int) -> None:
    """Give a small disk more room."""
    await anyio.run_process(["mount", "-o", f"remount,size={megabytes}m", str(path)])


class _Forward(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        """Copy both ways until both sides have ended."""
        with socket.socket(socket.AF_UNIX) as far:
            far.connect(self.server.path)  # type: ignore[attr-defined]
            back = threading.Thread(target=_pump, args=(far, self.request))
            back.start()
            _pump(self.request, far)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):  # one side has hung up
        while chunk := source.recv(1 << 16):
            # What a command says first comes with this; an idle process says nothing by itself.
            if chunk.startswith(b"HTTP/1.1 101 ") and select.select([source], [], [], 0.2)[0]:
                chunk += source.recv(1 << 16)
            target.sendall(chunk)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def over_tcp(path: str) -> Iterator[str]:
    """Forward a port of loopback to a daemon's socket and return its URL, as of another host."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Forward) as server:
        server.path = path  # type: ignore[attr-defined]
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"tcp://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@contextmanager
def silent_server() -> Iterator[int]:
    """Listen on a port, take connections and never answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield int(server.getsockname()[1])
