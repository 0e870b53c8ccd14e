"""Patterns of paths: include and exclude, glob, .gitignore.

The language is that of `.dockerignore` (github.com/moby/patternmatcher), as in Dagger: `*` and `?`
match within one name, `**` across directories, `!` negates; a path below one that matches also
matches.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from posixpath import dirname, normpath

#: Characters with a meaning in a class of a regular expression but not in one of a pattern.
_SPECIAL, _ESCAPED = re.compile(r"([\\\[\]^&~|])"), r"\\\1"


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern; `negative` if it begins with `!`."""

    regex: re.Pattern[str]
    negative: bool = False
    directories: bool = False  # matches only directories (a .gitignore line that ends with /)


@lru_cache(maxsize=1_000)
def compile_pattern(text: str) -> Pattern:
    """Return a pattern of include, exclude or glob."""
    negative = text.startswith("!")
    path = normpath("/" + text.removeprefix("!").strip()).lstrip("/")
    return Pattern(re.compile(_regex(path) + r"\Z", re.DOTALL), negative)


def _regex(glob: str) -> str:
    parts = []
    at = 0
    while at < len(glob):
        if glob.startswith("**", at):
            at += 2
            if glob.startswith("/", at):
                parts.append("(?:.*/)?")
                at += 1
            else:
                parts.append(".*")
            continue
        text, at = _one(glob, at)
        parts.append(text)
    return "".join(parts)


def _one(glob: str, at: int) -> tuple[str, int]:
    """Translate one character, or one class in brackets; return it and the next position."""
    match glob[at]:
        case "*":
            return "[^/]*", at + 1
        case "?":
            return "[^/]", at + 1
        case "\\" if at + 1 < len(glob):
            return re.escape(glob[at + 1]), at + 2
        case "[" if (end := glob.find("]", at + 2)) > 0:
            inner = glob[at + 1 : end]
            negated = "^" if inner[0] in "^!" else ""
            inner = inner[1:] if negated else inner
            return f"[{negated}{_SPECIAL.sub(_ESCAPED, inner)}]", end + 1
    return re.escape(glob[at]), at + 1


class Matcher:
    """A list of patterns: the last one that matches a path or a directory above it decides."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self._patterns = tuple(patterns)
        self._known: dict[str, tuple[bool, ...]] = {}

    def matches(self, path: str, *, directory: bool = False) -> bool:
        """Return whether the patterns match a path."""
        found = False
        for pattern, hit in zip(self._patterns, self._hits(path, directory), strict=True):
            if hit:
                found = not pattern.negative
        return found

    def _hits(self, path: str, directory: bool) -> tuple[bool, ...]:
        if path not in self._known:
            parent = dirname(path)
            above = self._hits(parent, True) if parent else (False,) * len(self._patterns)
            self._known[path] = tuple(
                inherited or ((directory or not each.directories) and bool(each.regex.match(path)))
                for each, inherited in zip(self._patterns, above, strict=True)
            )
        return self._known[path]


def select(
    paths: Iterable[tuple[str, bool]], include: Iterable[str], exclude: Iterable[str]
) -> set[str]:
    """Return the paths that match include but not exclude, with the directories above them.

    Each path comes with whether it is a directory; without include, every path matches.
    """
    include = tuple(include)
    wanted = Matcher(compile_pattern(text) for text in include)
    unwanted = Matcher(compile_pattern(text) for text in exclude)
    kept: set[str] = set()
    for path, directory in paths:
        if include and not wanted.matches(path, directory=directory):
            continue
        if not unwanted.matches(path, directory=directory):
            kept.add(path)
            kept.update(parents(path))
    return kept


def parents(path: str) -> Iterator[str]:
    """Yield the directories above a path, nearest first, without the root."""
    while path := dirname(path):
        yield path


def gitignore(text: str, folder: str = "") -> Iterator[Pattern]:
    """Yield the patterns of a .gitignore file in `folder`."""
    for raw in text.splitlines():
        line = raw.rstrip() if not raw.endswith("\\ ") else raw
        negative = line.startswith("!")
        line = line.removeprefix("!")
        if not line or line.startswith("#"):
            continue
        directories = line.endswith("/")
        line = line.rstrip("/")
        anywhere = "/" not in line
        glob = f"{folder}/" * bool(folder) + ("**/" if anywhere else "") + line.lstrip("/")
        yield Pattern(re.compile(_regex(glob) + r"\Z", re.DOTALL), negative, directories)
