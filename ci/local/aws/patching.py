"""Replace functions of ministack by name; raise if a name does not exist."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

#: The corrections replace private names of exactly this release.
SUPPORTED_RELEASE = "1.5.33"


class IncompatibleError(Exception):
    """The corrections do not fit the installed release of ministack."""


def check_release() -> None:
    """Raise unless ministack is the release that the corrections are written for.

    Raises:
        IncompatibleError: another release is installed.
    """
    found = version("ministack")
    if found != SUPPORTED_RELEASE:
        message = f"the corrections need ministack {SUPPORTED_RELEASE}, but {found} is installed"
        raise IncompatibleError(message)


def require(module: Any, *names: str) -> None:
    """Raise unless a module has all the names that a correction uses.

    Raises:
        IncompatibleError: a name does not exist.
    """
    for name in names:
        if not hasattr(module, name):
            message = f"this release of ministack has no {module.__name__}.{name}"
            raise IncompatibleError(message)


def replace(module: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Replace a function of a module.

    Callers within ministack find the replacement by the module's global name. Tables of API
    actions keep the original: see `replace_entry`.

    Args:
        module: the module that defines the function.
        name: the function's name.
        make: takes the original and returns the replacement.

    Raises:
        IncompatibleError: the module has no such function.
    """
    require(module, name)
    setattr(module, name, make(getattr(module, name)))


def replace_entry(table: dict[str, Any], key: str, make: Callable[[Any], Any]) -> None:
    """Replace a function in one of ministack's tables.

    Raises:
        IncompatibleError: the table has no such entry.
    """
    if key not in table:
        message = f"this release of ministack has no handler of {key}"
        raise IncompatibleError(message)
    table[key] = make(table[key])
