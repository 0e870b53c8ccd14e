"""The program's own standard streams: closed, full, without a reader, or in ASCII."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ci.report import streams
from ci.report.streams import ReaderGoneError

ROOT = Path(__file__).parents[3]
ACSO = f'"{sys.executable}" "{ROOT}/ci"'


def shell(line: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a shell command in which $acso is the program."""
    return subprocess.run(
        ["bash", "-c", line.replace("$acso", ACSO)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_a_full_disk_is_one_sentence() -> None:
    done = shell("$acso completion bash > /dev/full")
    assert done.returncode == 4
    first, second = done.stderr.splitlines()
    assert first == "error: standard output cannot be written: No space left on device"
    assert second.startswith("  next: ")


@pytest.mark.parametrize("command", ["completion bash", "--help"])
def test_a_closed_output_is_refused_before_the_command_runs(command: str) -> None:
    done = shell(f"$acso {command} >&-")
    assert done.returncode == 4
    assert done.stderr.splitlines() == [
        "error: standard output is closed",
        "  next: to discard the output: > /dev/null",
    ]


@pytest.mark.parametrize("flags", ["", "--json"])
def test_a_broken_pipe_is_quiet(flags: str) -> None:
    done = shell(f"{{ $acso completion bash {flags}; echo $? >&2; }} | true")
    assert done.stderr == "0\n"


def test_a_lost_error_output_changes_no_exit_code() -> None:
    assert shell("$acso nosuch 2>/dev/full").returncode == 2
    assert shell("$acso nosuch 2>&-").returncode == 2


def test_what_the_encoding_lacks_is_escaped() -> None:
    done = shell(
        "$acso status --env $'p\\xff\\xc3\\xa9' --json", PYTHONIOENCODING="ascii", PYTHONUTF8="0"
    )
    assert done.returncode == 2
    assert "unknown environment" in json.loads(done.stdout)["error"]["message"]


def test_in_the_block_all_other_output_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with streams.reserved(on=True) as out:
        print("noise")
        streams.write("{}", out)
    print("after")
    assert capsys.readouterr() == ("{}\nafter\n", "noise\n")


def test_a_program_that_is_started_writes_to_stderr_too() -> None:
    script = (
        "import subprocess; from ci.report import streams\n"
        "with streams.reserved(on=True) as out:\n"
        "    subprocess.run(['echo', 'noise'])\n"
        "    streams.write('{}', out)\n"
        "print('after')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert (done.stdout, done.stderr) == ("{}\nafter\n", "noise\n")


def test_a_reader_that_has_gone_is_an_exception_of_its_own() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone, pytest.raises(ReaderGoneError):
        streams.write("x", gone)
