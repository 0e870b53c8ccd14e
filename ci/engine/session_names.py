"""Names of sessions, from which the next session sees whether one has ended."""

import os
import platform
import secrets

from ci.common import processes


def session_name() -> str:
    """Return a name for a session of this process: host, boot, process, its start, random."""
    pid = os.getpid()
    parts = (*_here(), str(pid), processes.start_time(pid), secrets.token_hex(4))
    return "/".join(parts)


def is_dead(session: str) -> bool:
    """Return whether the process of a session has ended; False for a session of another host."""
    host, boot, process, started, _ = session.split("/")
    if host != _here()[0]:
        return False
    return boot != _here()[1] or not processes.alive(int(process), started)


def _here() -> tuple[str, str]:
    return platform.node(), processes.boot()
