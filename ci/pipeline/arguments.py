"""Checks of arguments that `acso` and `dagger call` make alike."""

import urllib.parse
from collections.abc import Mapping
from types import MappingProxyType

from ci.errors import UsageError

#: Minimum of each number that a function takes, by the parameter's name.
LEAST: Mapping[str, int] = MappingProxyType({"wait": 0, "seconds": 1, "limit": 1})
LARGEST = 1_000_000_000


def check_number(name: str, value: int) -> int:
    """Return a number; raises `UsageError` if it is too small or too large."""
    if not LEAST[name] <= value <= LARGEST:
        message = f"--{name} {value} is not a number from {LEAST[name]} to {LARGEST}"
        raise UsageError(message, hint=f"give --{name} {LEAST[name]} or more")
    return value


def check_url(value: str) -> str:
    """Return an http(s) URL; raises `UsageError` for anything else."""
    try:
        parts = urllib.parse.urlsplit(value)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or any(character.isspace() for character in value):
        message = f"{value!r} is not a URL"
        raise UsageError(message, hint="a URL begins with http:// or https:// and names a host")
    return value
