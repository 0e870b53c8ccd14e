"""How corrections reach into ministack: by name, loudly when a name is gone."""

from collections.abc import Callable
from typing import Any


class GoneError(Exception):
    """A name that a correction hooks into is not there: another release of ministack."""


def replace(module: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Replace a function of a module by what `make` makes of it.

    Args:
        module: the module that defines it and calls it by its global name.
        name: the function.
        make: takes the original, returns the replacement.

    Raises:
        GoneError: there is no such function.
    """
    original = getattr(module, name, None)
    if not callable(original):
        message = f"{module.__name__}.{name} is gone: the corrections are for another ministack"
        raise GoneError(message)
    setattr(module, name, make(original))
