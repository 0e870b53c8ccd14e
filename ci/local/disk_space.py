"""Check for free disk space before long work begins."""

import shutil
from pathlib import Path

from ci.errors import HostError


def free(path: Path) -> int:
    """Return the free bytes at a path, which need not exist yet."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def require(path: Path, size: int, purpose: str) -> None:
    """Raise unless enough space is free.

    Args:
        path: where the space is needed; it need not exist yet.
        size: bytes needed.
        purpose: what needs them, as a noun.

    Raises:
        HostError: less is free.
    """
    available = free(path)
    if available < size:
        message = (
            f"{purpose} needs {format_size(size)} at {path}, but only "
            f"{format_size(available)} are free"
        )
        hint = "free some space there, or set XDG_CACHE_HOME to another folder"
        raise HostError(message, hint=hint)


def format_size(size: int) -> str:
    """Return a size for people to read: 1.5 GB, 40 MB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size // 10**6} MB"
