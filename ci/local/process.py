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
    """Return when a process began, "" if it does not run."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        # Behind the name in brackets, which may itself hold spaces: state, ..., start (field 22).
        fields = stat.read_text().rpartition(")")[2].split()
        # Its first thread may have ended while others still hold its ports.
        threads = len(list((stat.parent / "task").iterdir()))
    except OSError:
        return "" if Path("/proc/self").exists() else _started_by_ps(pid)
    # Ticks since boot, so the boot is part of it.
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    return "" if fields[0] in "ZX" and threads < 2 else f"{boot}-{fields[19]}"


def _started_by_ps(pid: int) -> str:
    """Return the same on systems without /proc."""
    done = subprocess.run(
        ["ps", "-o", "lstart=,stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    line = done.stdout.strip()
    return "" if not line or line.split()[-1].startswith("Z") else " ".join(line.split()[:-1])
