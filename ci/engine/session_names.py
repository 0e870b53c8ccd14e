"""Names of sessions, from which the next session sees whether one has ended."""

import os
import secrets

from ci.common import processes


def session_name() -> str:
    """Return a name for a session of this process: its machine, number and start, and chance."""
    pid = os.getpid()
    parts = (processes.host(), str(pid), processes.start_time(pid), secrets.token_hex(4))
    return "/".join(parts)


def is_dead(session: str) -> bool:
    """Return whether the process of a session has ended.

    False where it cannot be seen from here: on another host, or in another PID namespace of the
    same boot, as in a second container that shares this one's host name.
    """
    place, process, started, _ = session.rsplit("/", 3)
    node, boot, *namespace = place.split("/")
    here, booted, *own = processes.host().split("/")
    if node != here:
        return False
    if boot != booted:
        return True
    return namespace == own and not processes.alive(int(process), started)
