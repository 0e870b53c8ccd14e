"""Patterns of paths: include and exclude, glob, `.dockerignore`.

The language is that of `.dockerignore` (github.com/moby/patternmatcher), as in Dagger: `*` and `?`
match within one name, `**` across directories, `[^a-c]` characters, `!` negates; a path below one
that matches also matches.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from posixpath import dirname, normpath

from ci.engine.errors import EngineError
from ci.engine.store.wildcards import BadClassError, bracket

_PLAIN = re.compile(r"[^*?\[\\]*")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern; `negative` if it begins with `!`."""

    regex: re.Pattern[str]
    negative: bool = False


@lru_cache(maxsize=1_000)
def compile_pattern(text: str) -> Pattern:
    """Return a pattern of include, exclude or glob; raises `EngineError` if it is malformed."""
    given = text.strip()
    negative = given.startswith("!")
    path = normpath("/" + given.removeprefix("!").strip()).lstrip("/")
    if negative and not path:
        raise EngineError(f"pattern {text!r}: a path must follow the exclamation mark")
    try:
        return Pattern(re.compile(_regex(path) + r"\Z", re.DOTALL), negative)
    except BadClassError as error:
        raise EngineError(f"pattern {text!r}: {error}") from error


def _regex(glob: str) -> str:
    parts = []
    at = 0
    while at < len(glob):
        if not glob.startswith("**", at):
            text, at = _one(glob, at)
        else:
            text, at = _across(glob, at)
        parts.append(text)
    return "".join(parts)


def _across(glob: str, at: int) -> tuple[str, int]:
    """Translate `**` and the slash after it."""
    after = at + 2
    if after == len(glob):
        return ".*", after
    if glob[after] == "/":
        return "(?:.*/)?", after + 1
    # As in Docker: at the start of a name's plain end any text, elsewhere whole directories.
    return (".*" if not at and _PLAIN.fullmatch(glob, after) else "(?:.*/)?"), after


def _one(glob: str, at: int) -> tuple[str, int]:
    """Translate one character, or one class in brackets; return it and the next position."""
    match glob[at]:
        case "*":
            return "[^/]*", at + 1
        case "?":
            return "[^/]", at + 1
        case "\\" if at + 1 < len(glob):
            return re.escape(glob[at + 1]), at + 2
        case "\\":
            raise BadClassError("a backslash at the end escapes nothing")
        case "[":
            return bracket(glob, at, negations="^", backwards=False)
    return re.escape(glob[at]), at + 1


def dockerignore(data: bytes) -> list[str]:
    """Return the patterns of a `.dockerignore` file, without comments and empty lines."""
    text = data.removeprefix(_BYTE_ORDER_MARK).decode(errors="surrogateescape")
    lines = (line for line in text.split("\n") if not line.startswith("#"))
    return [line.strip() for line in lines if line.strip()]


class Matcher:
    """A list of patterns: the last one that matches a path or a directory above it decides."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self._patterns = tuple(patterns)
        self._known: dict[str, tuple[bool, ...]] = {}

    def matches(self, path: str) -> bool:
        """Return whether the patterns match a path."""
        found = False
        for pattern, hit in zip(self._patterns, self._hits(path), strict=True):
            if hit:
                found = not pattern.negative
        return found

    def _hits(self, path: str) -> tuple[bool, ...]:
        if path not in self._known:
            parent = dirname(path)
            above = self._hits(parent) if parent else (False,) * len(self._patterns)
            self._known[path] = tuple(
                inherited or bool(each.regex.match(path))
                for each, inherited in zip(self._patterns, above, strict=True)
            )
        return self._known[path]


def select(paths: Iterable[str], include: Iterable[str], exclude: Iterable[str]) -> set[str]:
    """Return the paths that match include but not exclude, with the directories above them.

    Without include, every path matches.
    """
    include = tuple(include)
    wanted = Matcher(compile_pattern(text) for text in include)
    unwanted = Matcher(compile_pattern(text) for text in exclude)
    kept: set[str] = set()
    for path in paths:
        if include and not wanted.matches(path):
            continue
        if not unwanted.matches(path):
            kept.add(path)
            kept.update(parents(path))
    return kept


def parents(path: str) -> Iterator[str]:
    """Yield the directories above a path, nearest first, without the root."""
    while path := dirname(path):
        yield path
