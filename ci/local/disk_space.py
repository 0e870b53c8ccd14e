"""Disk space, asked for before something long begins."""

import shutil
from pathlib import Path

from ci.errors import HostError


def free(path: Path) -> int:
    """Return the free bytes where a path is or would be made."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def require(path: Path, size: int, purpose: str) -> None:
    """Raise unless there is room.

    Args:
        path: where; it need not exist yet.
        size: how many bytes.
        purpose: what they are for, as a noun.

    Raises:
        HostError: there is less.
    """
    there = free(path)
    if there < size:
        message = f"{purpose} needs {text(size)} at {path} and {text(there)} are free"
        raise HostError(message, hint="make room there, or choose another place: XDG_CACHE_HOME")


def text(size: int) -> str:
    """Return a size as people write it: 1.5 GB, 40 MB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size // 10**6} MB"
