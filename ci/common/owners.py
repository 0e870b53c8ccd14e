"""Names of the processes that own containers, volumes and networks, kept in their labels.

From its name another process sees whether an owner has ended, so that nothing of a running one is
removed.
"""

import os
import secrets

from ci.common import processes


def owner_name() -> str:
    """Return a new name for this process as an owner: its machine, number, start, and chance."""
    pid = os.getpid()
    parts = (processes.host(), str(pid), processes.start_time(pid), secrets.token_hex(4))
    return "/".join(parts)


def is_alive(owner: str) -> bool:
    """Return whether the process of an owner runs and can be seen from here."""
    place, process, started, _ = owner.rsplit("/", 3)
    return place == processes.host() and processes.alive(int(process), started)


def is_dead(owner: str) -> bool:
    """Return whether the process of an owner has ended.

    False where it cannot be seen from here: on another host, or in another PID namespace of the
    same boot, as in a second container that shares this one's host name.
    """
    place, process, started, _ = owner.rsplit("/", 3)
    node, boot, *namespace = place.split("/")
    here, booted, *own = processes.host().split("/")
    if node != here:
        return False
    if boot != booted:
        return True
    return namespace == own and not processes.alive(int(process), started)
