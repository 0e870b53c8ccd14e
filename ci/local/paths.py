"""Where things are kept on this machine, and the labels that tell whose they are.

An instance is one user's stack: its embedded AWS, containers and state. ACSO_INSTANCE names it, so
that tests and a user's own stack never meet. Caches are shared by all instances.
"""

import os
import re
from pathlib import Path

import platformdirs

from ci.errors import UsageError

INSTANCE_LABEL = "acso.instance"
CACHE_LABEL = "acso.cache"
#: Part of labels, container names and folder names.
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


def instance() -> str:
    """Return the name of this user's stack.

    Raises:
        UsageError: ACSO_INSTANCE is no name.
    """
    name = os.environ.get("ACSO_INSTANCE") or "default"
    if not _NAME.fullmatch(name):
        message = f"ACSO_INSTANCE={name!r} is no name"
        raise UsageError(message, hint="use lower case letters, digits and dashes, at most 40")
    return name


def state_dir() -> Path:
    """Return the folder of what runs in this instance; not made."""
    return _state() / instance()


def machine_dir() -> Path:
    """Return the folder of what runs once on this machine, whatever the instance; not made."""
    return _state() / ".machine"  # no instance can have this name


def cache_dir() -> Path:
    """Return the folder of what can be made again and is shared by all instances; not made."""
    return Path(platformdirs.user_cache_path("acso"))


def _state() -> Path:
    return Path(platformdirs.user_state_path("acso"))


def instance_labels() -> dict[str, str]:
    """Return the labels of everything that belongs to this instance."""
    return {INSTANCE_LABEL: instance()}
