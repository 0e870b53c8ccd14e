"""Processes that keep running after the command that started them has ended.

A process is identified by its number and its start time. The number alone is not enough: the system
reuses numbers, so one from a file may belong to another process.
"""

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ci.common import processes
from ci.local.wait import until


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process as it was when it was started."""

    pid: int
    started: str  # identifies its start; compared only

    def alive(self) -> bool:
        """Return whether this process still runs; a zombie does not."""
        return _started(self.pid) == self.started

    async def stop(self, *, seconds: float) -> None:
        """Send SIGTERM and, if it still runs after `seconds`, SIGKILL."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.alive():
                return
            os.kill(self.pid, number)

            async def gone() -> bool:
                return not self.alive()

            await until(gone, seconds=seconds)


def launch(command: Sequence[str], *, environ: Mapping[str, str], log: Path) -> Process:
    """Start a process in its own session, so that Ctrl-C does not reach it.

    Args:
        command: program and arguments.
        environ: all of its environment variables.
        log: the file for its output; an existing file is overwritten.

    Raises:
        OSError: the program cannot be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )
    # Nobody waits for it, as it keeps running; without this Python warns of an abandoned child.
    child.returncode = 0
    return of(child.pid)


def of(pid: int) -> Process:
    """Return the process that has this number at the moment."""
    return Process(pid=pid, started=_started(pid))


def read(path: Path) -> Process | None:
    """Return the process recorded in a file, None if there is no valid record."""
    try:
        found = json.loads(path.read_text())
        return Process(pid=int(found["pid"]), started=str(found["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def record(path: Path, process: Process, **more: object) -> None:
    """Write the process and further values to a file, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(asdict(process) | more))
    draft.replace(path)


def _started(pid: int) -> str:
    """Return what identifies a running process beside its number, "" if it does not run."""
    started = processes.start_time(pid)
    return started and f"{processes.boot()[:8]}-{started}"
