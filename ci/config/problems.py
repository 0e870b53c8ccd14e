"""The error of one key, and the checks that all tables share."""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from ci.config.settings import nearest

#: Keys of earlier versions, and what to do instead.
REMOVED = MappingProxyType(
    {
        "approvals": "removed; add required reviewers to the GitHub environment of the same name "
        "(docs/aws.md)"
    }
)


class BadKeyError(Exception):
    """One key is invalid; `parse` adds the file."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where = where
        self.what = what


def known(where: str, data: Mapping[str, object], names: Iterable[str]) -> None:
    """Raise `BadKeyError` for a key that is not one of the names."""
    for key in data:
        if key not in names:
            what = REMOVED.get(key, f"unknown key, {nearest(key, sorted(names))}")
            raise BadKeyError(f"{where}.{key}" if where else key, what)


def require(condition: object, where: str, what: str) -> None:
    """Raise `BadKeyError` unless the condition holds."""
    if not condition:
        raise BadKeyError(where, what)


def require_match(pattern: str, value: str | None, where: str, what: str) -> None:
    """Raise `BadKeyError` unless a value is absent or matches the pattern as a whole."""
    require(value is None or re.fullmatch(pattern, value), where, f"must be {what}")
