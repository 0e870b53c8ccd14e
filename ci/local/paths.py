"""Folders of this machine, and the labels that show what belongs to whom.

An instance is one local stack: an embedded AWS, its containers and its state. ACSO_INSTANCE names
it, which keeps the stacks of tests apart from the user's own. All instances share the caches.
"""

import os
import re
from pathlib import Path

import platformdirs

from ci.errors import UsageError

INSTANCE_LABEL = "acso.instance"
CACHE_LABEL = "acso.cache"
#: An instance's name is part of labels, container names and folder names.
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


def instance() -> str:
    """Return the name of the current instance.

    Raises:
        UsageError: ACSO_INSTANCE is not a valid name.
    """
    name = os.environ.get("ACSO_INSTANCE") or "default"
    if not _NAME.fullmatch(name):
        message = f"ACSO_INSTANCE={name!r} is not a valid name"
        raise UsageError(message, hint="use at most 40 lower case letters, digits and dashes")
    return name


def state_dir() -> Path:
    """Return the folder of this instance's state; it may not exist."""
    return _state() / instance()


def machine_dir() -> Path:
    """Return the folder of state that all instances share; it may not exist."""
    return _state() / ".machine"  # no instance can have this name


def cache_dir() -> Path:
    """Return the folder of caches, which all instances share; it may not exist."""
    return Path(platformdirs.user_cache_path("acso"))


def _state() -> Path:
    return Path(platformdirs.user_state_path("acso"))


def instance_labels() -> dict[str, str]:
    """Return the labels of everything that belongs to this instance."""
    return {INSTANCE_LABEL: instance()}
