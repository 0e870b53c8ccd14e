"""What the process of an idle container answers, and how it is understood."""

import io
import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ci.engine.docker.idle import SHELL, Leftovers, Looker, frames


def frame(stream: int, data: bytes) -> bytes:
    """Return a piece of output as the API sends it."""
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


def connection(data: bytes) -> tuple[Any, list[bytes]]:
    """Return a connection that has received data, and what is sent."""
    sent: list[bytes] = []
    raw = SimpleNamespace(settimeout=lambda _: None, sendall=sent.append, close=lambda: None)
    raw._response = SimpleNamespace(raw=SimpleNamespace(_fp=SimpleNamespace(fp=io.BytesIO(data))))
    return raw, sent


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


def test_each_look_reads_its_own_output() -> None:
    pieces = (b"/proc/1\n", b"/proc/9\ndone 0\n", b"/proc/1\n/proc/8\ndo", b"ne 0\n")
    raw, sent = connection(b"".join(frame(1, piece) for piece in pieces))
    looker = Looker(raw)
    assert looker.look() == b"/proc/1\n/proc/9\n"
    assert looker.look() == b"/proc/1\n/proc/8\n"
    assert sent == [b"\n", b"\n"]


@pytest.mark.parametrize("data", [b"", frame(1, b"/proc/1\n"), frame(1, b"done 127\n")])
def test_a_process_that_ends_or_cannot_look_is_an_error(data: bytes) -> None:
    looker = Looker(connection(data)[0])
    with pytest.raises(OSError, match="does not look"):
        looker.look()


def test_a_file_named_as_the_end_of_a_look_is_seen_as_a_file() -> None:
    names = b"/dev/shm/a\ndone 0\n"
    looked = Looker(connection(frame(1, names))[0]).look()
    assert Leftovers.parse(looked + b"/proc/1\n/proc/9\n") == Leftovers(processes=False, files=True)
    assert Leftovers.parse(looked) is None  # then the processes are counted in another way


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


def test_the_process_looks_once_for_each_line_and_then_idles(programs: Path) -> None:
    environ = {"PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(SHELL, input=b"\n\n", capture_output=True, env=environ, check=False)
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert lines[1::2] == [b"done 0"] * 2
    assert b"-path /dev/shm/* -o" in lines[0]
    assert done.returncode == 7  # of `sleep`


def test_what_a_command_writes_to_the_streams_of_process_1_disturbs_no_look() -> None:
    with subprocess.Popen(SHELL, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(b"\n")
            process.stdin.flush()
            while not process.stdout.readline().startswith(b"done "):
                pass
            streams = [Path(f"/proc/{process.pid}/fd/{number}") for number in (1, 2)]
            end = time.monotonic() + 10
            while True:  # the shell has its own streams again after it has written `done`
                found = {str(each.readlink()) for each in streams}
                if found == {"/dev/null"} or time.monotonic() > end:
                    break
            assert found == {"/dev/null"}
        finally:
            process.kill()
