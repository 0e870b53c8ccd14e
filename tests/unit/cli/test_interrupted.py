"""Ctrl-C and other signals that end a command: it cleans up, without a traceback."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.json_documents import DOCUMENT

ROOT = Path(__file__).parents[3]
#: Runs ci/__main__.py with a program that is interrupted while it is imported.
SCRIPT = """
import runpy, sys
class Interrupting:
    def find_spec(self, name, *_):
        if name == "ci.cli.program":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
sys.argv = ["acso", *sys.argv[1:]]
runpy.run_path("ci", run_name="__main__")
"""


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_an_early_interrupt_is_exit_code_130(flags: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "doctor", *flags],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 130
    assert done.stderr == "error: interrupted\n  next: run the same command again\n"
    if flags:
        DOCUMENT.validate(json.loads(done.stdout))
    else:
        assert done.stdout == ""


#: Runs a command that gets signals; the arguments: the signals that it ignores, and those it gets.
SIGNALLED = """
import signal, sys
import anyio, anyio.lowlevel
from ci.cli import program

ignored, received = (map(int, filter(None, part.split(","))) for part in sys.argv[1:3])
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits another
signal.signal(signal.SIGHUP, signal.SIG_DFL)
for number in ignored:
    signal.signal(number, signal.SIG_IGN)

async def work():
    try:
        for number in received:
            signal.raise_signal(number)
            await anyio.lowlevel.checkpoint()
        print("went on")
    finally:
        print("cleaned up")

program._run = lambda options, closed: anyio.run(work) or 0
sys.exit(program.main(["doctor", *sys.argv[3:]]))
"""
HUP, INT, TERM = int(signal.SIGHUP), int(signal.SIGINT), int(signal.SIGTERM)


@pytest.mark.parametrize(
    ("ignored", "received", "code", "lines"),
    [
        pytest.param([], [TERM], 130, ["cleaned up"], id="SIGTERM"),
        pytest.param([], [HUP], 130, ["cleaned up"], id="the terminal is closed"),
        pytest.param([HUP], [HUP], 0, ["went on", "cleaned up"], id="nohup"),
        pytest.param([INT], [INT], 0, ["went on", "cleaned up"], id="a background job's Ctrl-C"),
        pytest.param([INT], [INT, TERM], 130, ["cleaned up"], id="a background job is ended"),
        pytest.param([INT], [HUP], 130, ["cleaned up"], id="a background job's terminal is closed"),
    ],
)
def test_a_signal_ends_a_command_as_ctrl_c_does(
    ignored: list[int], received: list[int], code: int, lines: list[str]
) -> None:
    done = signalled(ignored, received)
    assert (done.returncode, done.stdout.splitlines()) == (code, lines), done.stderr
    assert ("error: interrupted" in done.stderr) == bool(code)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("received", [INT, TERM, HUP])
def test_an_interrupted_command_with_json_prints_one_document(received: int) -> None:
    done = signalled([], [received], "--json")
    document = json.loads(done.stdout)
    DOCUMENT.validate(document)
    assert (document["command"], document["exit_code"], done.returncode) == ("doctor", 130, 130)
    assert document["error"]["message"] == "interrupted"
    assert "cleaned up" in done.stderr  # what else is printed


def signalled(
    ignored: list[int], received: list[int], *flags: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command that ignores some signals and gets others."""
    numbers = [",".join(map(str, part)) for part in (ignored, received)]
    return subprocess.run(
        [sys.executable, "-c", SIGNALLED, *numbers, *flags],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
