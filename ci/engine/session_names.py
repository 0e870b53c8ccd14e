"""Names of sessions, by which the next start knows what a dead one has left."""

import os
import platform
import secrets
from functools import cache
from pathlib import Path


def session_name() -> str:
    """Return a name for a session of this process: host, boot, process, its start, a random."""
    return "/".join([*_here(), str(os.getpid()), _started(os.getpid()), secrets.token_hex(4)])


def dead(session: str) -> bool:
    """Whether the process of a session is gone; a session of another host is never called dead."""
    host, boot, process, started, _ = session.split("/")
    if host != _here()[0]:
        return False
    return boot != _here()[1] or _started(int(process)) != started


@cache
def _here() -> tuple[str, str]:
    boot = Path("/proc/sys/kernel/random/boot_id")
    return platform.node(), boot.read_text().strip() if boot.exists() else ""


def _started(process: int) -> str:
    """Return when a process started, in the kernel's ticks; empty if it is not running."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return "" if Path("/proc/self").exists() else _alive(process)
    return text.rpartition(")")[2].split()[19]


def _alive(process: int) -> str:
    # Without /proc (macOS) a process is told by its number alone.
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "0"
