"""Whether a process still runs. Numbers of processes are used again, so its start identifies it."""

import os
import platform
import subprocess
from functools import cache
from pathlib import Path


@cache
def boot() -> str:
    """Return what identifies this boot of the machine; empty where the system does not tell."""
    return _text("/proc/sys/kernel/random/boot_id")


def host() -> str:
    """Return what identifies this machine, its boot and the PID namespace of this process.

    Only where all three agree does a number mean the same process.
    """
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return f"{platform.node()}/{boot()}/{namespace}"


def start_time(pid: int) -> str:
    """Return when a process started, to be compared only; empty if it does not run.

    A zombie does not run, unless other threads of it do: those may still hold ports.
    """
    stat = Path(f"/proc/{pid}/stat")
    try:
        # proc(5): the fields after the name in parentheses are state, ..., starttime (field 22).
        fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        threads = len(list((stat.parent / "task").iterdir()))
    except OSError:
        return "" if Path("/proc/self").exists() else _start_time_by_ps(pid)
    return "" if fields[0] in "ZX" and threads < 2 else fields[19]


def alive(pid: int, started: str) -> bool:
    """Return whether the process with this number and start time still runs.

    A process that this user may not see counts as running.
    """
    found = start_time(pid)
    return found == started if found else _hidden(pid)


def _hidden(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return not Path(f"/proc/{pid}").exists()
    except ProcessLookupError:
        pass
    return False


def _start_time_by_ps(pid: int) -> str:
    """Return the start time on systems without /proc."""
    done = subprocess.run(
        ["ps", "-o", "lstart=,stat=", "-p", str(pid)],
        env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
        capture_output=True,
        text=True,
        check=False,
    )
    words = done.stdout.split()
    return "" if not words or words[-1].startswith("Z") else " ".join(words[:-1])


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
