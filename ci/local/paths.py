"""Folders of this machine, and the labels that show what belongs to whom.

An instance is one local stack: an embedded AWS, its containers and its state. ACSO_INSTANCE names
it, which keeps the stacks of tests apart from the user's own. All instances share the caches.

Several users, and several state or cache folders of one user, may share a container engine, and
their instances may have the same name. So each of these folders has an identity: a random name in
a file inside it, which is part of the labels and tags of what belongs to it.
"""

import secrets
from contextlib import suppress
from pathlib import Path

import platformdirs

from ci.config.machine import instance, state_home
from ci.errors import HostError

INSTANCE_LABEL = "acso.instance"
STATE_LABEL = "acso.state"
#: The process that a container serves; see `ci.common.owners`.
OWNER_LABEL = "acso.owner"
CACHE_LABEL = "acso.cache"


def state_dir() -> Path:
    """Return the folder of this instance's state; it may not exist."""
    return state_home() / instance()


def machine_dir() -> Path:
    """Return the folder of state that all instances share; it may not exist."""
    return state_home() / ".machine"  # no instance can have this name


def cache_dir() -> Path:
    """Return the folder of caches, which all instances share; it may not exist."""
    return Path(platformdirs.user_cache_path("acso"))


def instance_labels() -> dict[str, str]:
    """Return the labels of everything that belongs to this instance of this state folder."""
    return {INSTANCE_LABEL: instance(), STATE_LABEL: state_id()}


def state_id() -> str:
    """Return the identity of the folder of state; create the folder if it does not exist."""
    return _identity(state_home())


def cache_id() -> str:
    """Return the identity of the folder of caches; create the folder if it does not exist."""
    return _identity(cache_dir())


def _identity(folder: Path) -> str:
    """Return what the file `id` of a folder says; exactly one process creates it, complete."""
    path = folder / "id"
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft = folder / f"id.{secrets.token_hex(8)}"
            draft.write_text(secrets.token_hex(8))
            with suppress(FileExistsError):
                path.hardlink_to(draft)
            draft.unlink()
        return path.read_text()
    except OSError as error:
        message = f"cannot use {path}: {error.strerror}"
        hint = "choose folders that you may write to: XDG_STATE_HOME and XDG_CACHE_HOME"
        raise HostError(message, hint=hint) from error
