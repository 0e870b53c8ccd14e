"""Classes in brackets (`[a-z]`, `[!x]`, `[[:digit:]]`) as parts of regular expressions."""

import re
from collections.abc import Iterator

#: Members of the named classes of POSIX, in ASCII.
_NAMED = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": " \\t\\n\\v\\f\\r",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}
_NAME = re.compile(r"\[:([^]]*):\]")


class BadClassError(ValueError):
    """A class has no end, an unknown name or a range that runs backwards."""


def bracket(glob: str, at: int, *, negations: str, backwards: bool) -> tuple[str, int]:
    """Translate the class that begins at a position; return it and the position after it.

    Args:
        glob: the whole pattern.
        at: the position of `[`.
        negations: the characters that negate a class if they come first.
        backwards: whether a range such as `z-a` is allowed; it matches `z`.

    Raises:
        BadClassError: the class is malformed.
    """
    at += 1
    negated = glob[at : at + 1] != "" and glob[at] in negations
    items = list(_items(glob, at + negated, backwards=backwards))
    members = "".join(text for text, _ in items)
    return f"[{'^' * negated}{members}]", items[-1][1] + 1


def _items(glob: str, start: int, *, backwards: bool) -> Iterator[tuple[str, int]]:
    """Yield each member of a class and the position after it, up to the closing bracket."""
    at = start
    while at == start or glob[at : at + 1] != "]":  # a bracket that comes first is a member
        if name := _NAME.match(glob, at):
            if name[1] not in _NAMED:
                raise BadClassError(f"no class is named [:{name[1]}:]")
            at = name.end()
            yield _NAMED[name[1]], at
            continue
        low, at = _character(glob, at)
        if glob[at : at + 1] != "-" or glob[at + 1 : at + 2] in ("]", ""):
            yield _escaped(low), at
            continue
        high, at = _character(glob, at + 1)
        if low > high and not backwards:
            raise BadClassError(f"the range {low}-{high} runs backwards")
        yield (f"{_escaped(low)}-{_escaped(high)}" if low <= high else _escaped(low)), at


def _character(glob: str, at: int) -> tuple[str, int]:
    at += glob[at : at + 1] == "\\"
    if at >= len(glob):
        raise BadClassError("a class has no closing bracket")
    return glob[at], at + 1


def _escaped(character: str) -> str:
    return f"\\{character}" if character in "\\]^-[&~|" else character
