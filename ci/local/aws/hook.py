"""How corrections reach into ministack: by name, loudly when a name is gone."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

#: The corrections hook into private names of exactly this release.
PINNED = "1.5.33"


class GoneError(Exception):
    """What a correction hooks into is not there: this is another release of ministack."""


def check_release() -> None:
    """Raise unless ministack is the release that the corrections were made for.

    Raises:
        GoneError: it is another one.
    """
    found = version("ministack")
    if found != PINNED:
        message = f"the corrections are for ministack {PINNED}, installed is {found}"
        raise GoneError(message)


def require(module: Any, *names: str) -> None:
    """Raise unless a module has all the names that a correction uses.

    Raises:
        GoneError: one is absent.
    """
    for name in names:
        if not hasattr(module, name):
            message = f"{module.__name__}.{name} is gone"
            raise GoneError(message)


def replace(module: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Replace a function of a module by what `make` makes of it.

    Callers within ministack find the replacement by the module's global name. Tables of API
    actions keep the original: see `replace_entry`.

    Args:
        module: the module that defines it.
        name: the function.
        make: takes the original, returns the replacement.

    Raises:
        GoneError: there is no such function.
    """
    require(module, name)
    setattr(module, name, make(getattr(module, name)))


def replace_entry(table: dict[str, Any], key: str, make: Callable[[Any], Any]) -> None:
    """Replace a function in one of ministack's tables.

    Raises:
        GoneError: the table has no such entry.
    """
    if key not in table:
        message = f"the handler of {key} is gone"
        raise GoneError(message)
    table[key] = make(table[key])
