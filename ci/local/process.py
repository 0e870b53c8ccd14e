"""Processes that outlive the command that started them.

A process is known by its number and its start time together: numbers are used again, so a number
from a file alone may be anybody's.
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
    started: str  # as the system tells it; only ever compared

    def alive(self) -> bool:
        """Whether this very process still runs; one that its parent has yet to wait for doesn't."""
        return _started(self.pid) == self.started

    async def stop(self, *, seconds: float) -> None:
        """End it: politely first, and for good after `seconds`."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.alive():
                return
            os.kill(self.pid, number)

            async def gone() -> bool:
                return not self.alive()

            await until(gone, seconds=seconds)


def launch(command: Sequence[str], *, environ: Mapping[str, str], log: Path) -> Process:
    """Start a process of its own session, so that Ctrl-C here does not reach it.

    Args:
        command: program and arguments.
        environ: its whole environment.
        log: its output; what an earlier start wrote is replaced.

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
    # Not waited for: it lives on. Told so, or Python warns of a child left behind.
    child.returncode = 0
    return of(child.pid)


def of(pid: int) -> Process:
    """Return the process that has this number now."""
    return Process(pid=pid, started=_started(pid))


def read(path: Path) -> Process | None:
    """Return the process recorded in a file, None without a usable record."""
    try:
        found = json.loads(path.read_text())
        return Process(pid=int(found["pid"]), started=str(found["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def record(path: Path, process: Process, **more: object) -> None:
    """Write the process, and what else is given, to a file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(asdict(process) | more))
    draft.replace(path)


def _started(pid: int) -> str:
    """Return what identifies a running process beside its number, "" if it does not run."""
    started = processes.start_time(pid)
    return started and f"{processes.boot()[:8]}-{started}"
