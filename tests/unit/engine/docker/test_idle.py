"""What the process of an idle container answers, and how it is understood."""

import io
import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ci.engine.docker.idle import LOOK, SHELL, Leftovers, Looker, Lookers, frames


def frame(stream: int, data: bytes) -> bytes:
    """Return a piece of output as the API sends it."""
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


class Container:
    """A container whose process answers each line with the next of some outputs."""

    def __init__(self, *outputs: tuple[bytes, int]) -> None:
        self.outputs = [*outputs]
        self.asked: list[str] = []
        self.sent = io.BytesIO()
        reader = SimpleNamespace(_fp=SimpleNamespace(fp=self.sent))
        self._response = SimpleNamespace(raw=reader, close=lambda: None)

    def attach_socket(self, _container: str, params: dict[str, int]) -> Any:
        assert params["stdin"]
        return self

    def settimeout(self, _seconds: int) -> None: ...

    def close(self) -> None: ...

    def sendall(self, data: bytes) -> None:
        command, _, end = data.decode().rstrip("\n").rpartition("; echo ")
        self.asked.append(command)
        place = self.sent.tell()
        for output, code in self.outputs[:1]:
            whole = output + end.replace("$?", str(code)).encode() + b"\n"
            for at in range(0, len(whole), 7):  # in pieces
                self.sent.write(frame(1, whole[at : at + 7]) + frame(2, b"an error"))
        self.sent.seek(place)
        del self.outputs[:1]


def asked(*outputs: tuple[bytes, int]) -> tuple[Lookers, Container]:
    """Return the connections of a session that is connected to one container, `c`."""
    container = Container(*outputs)
    lookers = Lookers(container)
    lookers.attach("c")
    return lookers, container


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (b"/proc/1\n/proc/9\n", Leftovers(processes=False, files=False)),
        (b"/proc/1\n/proc/7\n/proc/9\n", Leftovers(processes=True, files=False)),
        (b"/dev/shm/a\n/proc/1\n/proc/9\n", Leftovers(processes=False, files=True)),
        (b"/etc/hosts\n/proc/1\n/proc/9\n", Leftovers(processes=False, files=True)),
        (b"/proc/1\n", None),
        (b"", None),
    ],
)
def test_a_look_shows_processes_and_files(output: bytes, expected: Leftovers | None) -> None:
    assert Leftovers.parse(output) == expected


def test_each_command_has_its_own_output() -> None:
    lookers, container = asked((b"one\n", 0), (b"two\ndone 0\n", 0))
    assert lookers.ask("c", "first") == b"one\n"
    assert lookers.ask("c", "second") == b"two\ndone 0\n"
    assert container.asked == ["first", "second"]


def test_a_command_that_fails_has_no_output_and_the_next_one_has() -> None:
    lookers, _ = asked((b"half", 127), (b"whole", 0))
    assert lookers.ask("c", "first") is None
    assert lookers.ask("c", "second") == b"whole"


def test_a_process_that_ends_is_not_asked_again() -> None:
    lookers, container = asked()
    assert lookers.ask("c", "first") is None
    assert lookers.ask("c", "second") is None
    assert container.asked == ["first"]
    assert lookers.look("c") is None
    with pytest.raises(OSError, match="does not answer"):
        Looker(container).ask("third")


def test_whether_a_process_answers_is_known_while_it_is_connected() -> None:
    lookers, _ = asked((b"", 0))
    assert [lookers.answers("c"), lookers.answers("c"), lookers.answers("c")] == [True, False, None]


@pytest.mark.parametrize(
    ("mounted", "expected"),
    [
        (b"127.0.0.1 localhost\nname\n", Leftovers(processes=False, files=False)),
        (b"127.0.0.1 localhost\n192.0.2.1 left\nname\n", Leftovers(processes=False, files=True)),
    ],
)
def test_a_look_compares_what_the_container_engine_mounts(
    mounted: bytes, expected: Leftovers
) -> None:
    processes = b"\0/proc/1\n/proc/9\n"
    first = b"127.0.0.1 localhost\nname\n"
    lookers, container = asked((first + processes, 0), (mounted + processes, 0))
    lookers.begin("c")
    assert lookers.look("c") == expected
    assert container.asked == [LOOK, LOOK]


def test_a_look_that_is_cut_off_shows_nothing() -> None:
    lookers, _ = asked((b"hosts\0/proc/1\n/proc/9\n", 0), (b"hosts\n", 0))
    lookers.begin("c")
    assert lookers.look("c") is None


def test_frames_end_where_a_connection_is_cut() -> None:
    cut = frame(1, b"whole") + frame(2, b"lost")[:-2]
    assert list(frames(io.BytesIO(cut))) == [(1, b"whole"), (2, b"lo")]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with a `find` that prints its arguments, and a `sleep` that ends at once."""
    for name, text in (("find", 'echo "$@"'), ("sleep", "exit 7")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    return tmp_path


def test_the_process_executes_each_line_and_then_idles(programs: Path) -> None:
    environ = {"PATH": f"{programs}:{os.environ['PATH']}"}
    lines = b"find a 'b  c'; echo $?\nset -- x\\ y\nfind \"$@\"\n"
    done = subprocess.run(SHELL, input=lines, capture_output=True, env=environ, check=False)
    assert done.stdout == b"a b  c\n0\nx y\n"
    assert done.returncode == 7  # of `sleep`


def test_what_a_command_writes_to_the_streams_of_process_1_disturbs_no_look() -> None:
    with subprocess.Popen(SHELL, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(b"echo done\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"done\n"
            streams = [Path(f"/proc/{process.pid}/fd/{number}") for number in (1, 2)]
            end = time.monotonic() + 10
            while True:  # the shell has its own streams again after the line
                found = {str(each.readlink()) for each in streams}
                if found == {"/dev/null"} or time.monotonic() > end:
                    break
            assert found == {"/dev/null"}
        finally:
            process.kill()
