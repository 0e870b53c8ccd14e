"""Ctrl-C during a release: real signals to a process of its own."""

import signal
import subprocess
import sys
from pathlib import Path

import anyio

from ci.pipeline.interrupts import interrupts

ROOT = Path(__file__).parents[3]
#: A release in the loop that the command line runs; it sends itself signals at the steps named.
PROGRAM = """
import os, signal, sys
import anyio
from ci.pipeline import interrupts as module
from ci.cli.signals import handle
from ci.pipeline.interrupts import interrupts

signals = dict(pair.split("=") for pair in sys.argv[1:])
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits another
signal.signal(signal.SIGHUP, signal.SIG_DFL)
handle()
module.MOMENT = 0.2

def step(name):
    print(name, flush=True)
    if name in signals:
        os.kill(os.getpid(), int(signals[name]))

async def main():
    before = signal.getsignal(signal.SIGINT)
    try:
        with interrupts() as stop:
            step("begun")
            await stop.asked()
            step("asked")
            step("again" if await stop.asked_again() else "enough")
            await anyio.sleep(0.05)
            step("recorded")
        assert signal.getsignal(signal.SIGINT) is before
        step("outside")
        await anyio.sleep(60)
    finally:
        step("cleaned up")

try:
    anyio.run(main)
except KeyboardInterrupt:
    sys.exit(130)
"""
INT, TERM, HUP = int(signal.SIGINT), int(signal.SIGTERM), int(signal.SIGHUP)


def steps(**signals: int) -> list[str]:
    """Return the steps that a release makes which gets signals at some; its exit code is 130."""
    given = [f"{name}={number}" for name, number in signals.items()]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *given],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (130, "")
    return done.stdout.splitlines()


def test_a_ctrl_c_is_told_to_the_release_and_the_next_command_is_cancelled_as_ever() -> None:
    ended = ["begun", "asked", "enough", "recorded", "outside", "cleaned up"]
    assert steps(begun=INT, outside=INT) == ended


def test_a_second_ctrl_c_within_a_moment_is_told_too() -> None:
    assert steps(begun=INT, asked=INT, outside=INT)[2] == "again"


def test_further_ones_end_nothing_halfway() -> None:
    ended = ["begun", "asked", "again", "recorded", "outside", "cleaned up"]
    assert steps(begun=INT, asked=INT, again=INT, recorded=INT, outside=INT) == ended


def test_a_supervisor_s_term_is_a_stop_like_ctrl_c() -> None:
    assert steps(begun=TERM, outside=TERM)[2:] == ["enough", "recorded", "outside", "cleaned up"]


def test_a_closed_terminal_is_one_stop_although_system_and_shell_report_it() -> None:
    assert steps(begun=HUP, asked=HUP, outside=INT)[2:4] == ["enough", "recorded"]


async def test_in_another_thread_nobody_asks() -> None:
    async def look() -> bool:
        with interrupts() as stop:
            with anyio.move_on_after(0.01) as scope:
                await stop.asked()
            return scope.cancelled_caught

    before = signal.getsignal(signal.SIGINT)
    assert await anyio.to_thread.run_sync(anyio.run, look)
    assert signal.getsignal(signal.SIGINT) is before
