"""The process that keeps a container alive between its commands, and looks into it when asked.

A program that the container engine starts in a running container costs a tenth of a second of the
processor, a look of this process a hundredth.
"""

import re
import secrets
import shlex
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

#: Bytes of output that are read at once.
PIECE = 1 << 16
#: Seconds that a look may take.
TIMEOUT = 60
#: Files that the container engine mounts into a container, and a command may change.
MOUNTED = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
_NO_FILES = ("-path", "/dev/shm/*", "-o", "-path", "/proc/[0-9]*")  # noqa: S108  # nosec B108
#: Prints what a command left in a container and no image holds: processes, shared memory, and
#: changes of the files that the container engine mounts. On Podman these are older than /dev/pts.
OUTSIDE_IMAGE = (
    *("find", "/dev/shm", *MOUNTED, "/proc", "-maxdepth", "1", "("),  # noqa: S108  # nosec B108
    *("-path", "/etc/*", "-newer", "/dev/pts", "-o", *_NO_FILES, ")", "-print"),
)
#: Prints the same, after the contents of the files that the container engine mounts.
LOOK = (
    f"cat {' '.join(MOUNTED)} && printf '\\0' && "
    + shlex.join(("find", "/dev/shm", "/proc", "-maxdepth", "1", "(", *_NO_FILES, ")"))  # noqa: S108  # nosec B108
)
#: The processes of an idle container during a look: the one that idles, and `find`.
OWN_PROCESSES = 2
#: Executes each line that it reads; after the end of its input it idles. Its output and errors lead
#: nowhere: a command may write to those of process 1, which nobody would read.
SHELL = [
    *("sh", "-c"),
    "exec 3>&1 >/dev/null 2>&1; "
    'while IFS= read -r line; do eval "$line" >&3; done; exec sleep 2147483647',
]


@dataclass(frozen=True, kw_only=True)
class Leftovers:
    """Whether a command left processes, and files that are in no image, in its container."""

    processes: bool
    files: bool

    @classmethod
    def parse(cls, output: bytes) -> "Leftovers | None":
        """Return what the output of a look shows; None if `find` is missing or another program."""
        lines = output.splitlines()
        processes = [line for line in lines if line.startswith(b"/proc/")]
        if len(processes) < OWN_PROCESSES:
            return None
        others = len(processes) > OWN_PROCESSES
        return cls(processes=others, files=len(lines) > len(processes))


class Looker:
    """The connection to the process of one container; blocks."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._socket: socket.socket = getattr(connection, "_sock", connection)
        self._socket.settimeout(TIMEOUT)
        self._frames = frames(connection._response.raw._fp.fp)

    def ask(self, command: str) -> bytes | None:
        """Return the output of a shell command of one line, None if it failed.

        Raises:
            OSError: the process does not answer.
        """
        mark = secrets.token_hex(16)
        line = f"{command}; echo {mark} $?\n"
        self._socket.sendall(line.encode("utf-8", "surrogateescape"))
        end = re.compile(rb"%s (\d+)\n\Z" % mark.encode())
        output = bytearray()
        for stream, data in self._frames:
            output += data if stream == 1 else b""
            if hit := end.search(output, max(0, len(output) - len(mark) - 8)):
                return bytes(output[: hit.start()]) if hit[1] == b"0" else None
        raise OSError("the process of an idle container does not answer")

    def close(self) -> None:
        """Close the connection; the container goes on."""
        self._connection._response.close()
        self._socket.close()


class Lookers:
    """The connections of a session, by container."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._open: dict[str, Looker] = {}
        self._mounted: dict[str, bytes] = {}  # contents of MOUNTED before any command

    def attach(self, container: str) -> None:
        """Connect to the process of a container that is created and not yet started; blocks."""
        params = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        self._open[container] = Looker(self._client.attach_socket(container, params=params))

    def ask(self, container: str, command: str) -> bytes | None:
        """Return the output of a shell command of one line, None if it failed; blocks.

        The process of a container that is not connected, or does not answer, executes none.
        """
        try:
            return self._open[container].ask(command)
        except KeyError:
            return None
        except OSError:
            self.close(container)
            return None

    def answers(self, container: str) -> bool | None:
        """Return whether the process of a container answers, None if not connected; blocks."""
        return self.ask(container, ":") is not None if container in self._open else None

    def begin(self, container: str) -> None:
        """Look into a container in which nothing has run yet; blocks."""
        self._mounted[container], _, _ = (self.ask(container, LOOK) or b"").partition(b"\0")

    def look(self, container: str) -> Leftovers | None:
        """Return what a command left in a container, None if its process cannot see it; blocks."""
        mounted, end, found = (self.ask(container, LOOK) or b"").partition(b"\0")
        left = Leftovers.parse(found) if end else None
        if left is None or mounted == self._mounted.get(container):
            return left
        return replace(left, files=True)

    def close(self, container: str) -> None:
        """Close the connection to a container, if there is one."""
        self._mounted.pop(container, None)
        if found := self._open.pop(container, None):
            found.close()

    def close_all(self) -> None:
        """Close all connections."""
        for container in list(self._open):
            self.close(container)


def frames(reader: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the pieces of a command's output, each with the number of its stream (1 or 2).

    The reader is the response's own buffer, not the socket below it as in docker-py: output that
    arrives in one packet with the response's headers is in that buffer. Format: Docker's API,
    "Stream format" of ContainerAttach.
    """
    while len(head := reader.read(8)) == 8:
        stream, left = struct.unpack(">BxxxL", head)
        while left and (data := reader.read(min(left, PIECE))):
            yield stream, data
            left -= len(data)
