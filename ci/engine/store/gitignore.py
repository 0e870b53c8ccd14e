"""`.gitignore` files, as git reads them.

pathspec reads the lines and finds the last one that matches. The translation of a line is our own:
`GitIgnoreSpec` of pathspec differs from git in named classes (`[[:digit:]]`), ranges that run
backwards, escapes in classes, tabs at the end of a line, runs of more than two `*`, names that are
not UTF-8, and in what lies below a directory that was ignored and taken back. The test
`test_gitignore_is_gits` compares this module with `git check-ignore`.

Git compares bytes, so patterns and paths are compared as Latin-1, in which each byte is one
character.
"""

import os
import re

from pathspec import PathSpec
from pathspec.pattern import RegexPattern

from ci.engine.store.patterns import parents
from ci.engine.store.wildcards import BadClassError, bracket

NAME = ".gitignore"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TRAILING_SPACES = re.compile(r"((?:\\.|[^\\])*?) +", re.DOTALL)
#: Patterns of nothing but `**`. Dagger's matcher finds nothing by them.
_ANYTHING = re.compile(r"/?\*\*(?:/\*\*)+/?")


class Line(RegexPattern):
    """One line of a `.gitignore` file."""

    @classmethod
    def pattern_to_regex(cls, pattern: str | bytes) -> tuple[str | None, bool | None]:  # type: ignore[override]
        """Return the regular expression of a line and whether it ignores; None for a comment."""
        text = pattern.decode("latin-1") if isinstance(pattern, bytes) else pattern
        negative = text.startswith("!")
        glob = text[negative:]
        if not glob or text.startswith("#"):
            return None, None
        regex = _regex(glob)
        return regex, None if regex is None else not negative


def _regex(glob: str) -> str | None:
    """Return the regular expression of a pattern; None if git matches nothing by it."""
    only_directories = glob.endswith("/")
    glob = glob.removesuffix("/")
    anywhere = "/" not in glob
    try:
        body = "".join(_parts(glob.removeprefix("/"), anywhere=anywhere))
    except BadClassError:
        return None
    end = "/" if only_directories else "/?"  # a directory is asked for with a slash at its end
    return rf"(?s:\A{'(?:.*/)?' * anywhere}{body}(?<!/){end}\Z)"


def _parts(glob: str, *, anywhere: bool) -> list[str]:
    parts, at = [], 0
    while at < len(glob):
        match glob[at]:
            case "*":
                text, at = _stars(glob, at, anywhere=anywhere)
            case "?":
                text, at = "[^/]", at + 1
            case "[":
                text, at = bracket(glob, at, negations="!^", backwards=True)
                text = f"(?!/){text}"
            case "\\":
                if at + 1 == len(glob):
                    raise BadClassError("a backslash at the end escapes nothing")
                text, at = re.escape(glob[at + 1]), at + 2
            case character:
                text, at = re.escape(character), at + 1
        parts.append(text)
    return parts


def _stars(glob: str, at: int, *, anywhere: bool) -> tuple[str, int]:
    end = at
    while glob[end : end + 1] == "*":
        end += 1
    whole = glob[:at].endswith("/") or not at
    if anywhere or end - at == 1 or not whole or glob[end : end + 1] not in ("/", ""):
        return "[^/]*", end
    return ("(?:.*/)?", end + 1) if glob[end:] else (".*", end)


def lines(data: bytes) -> list[str]:
    """Return the patterns of a file without byte order mark, line ends and trailing spaces."""
    found = []
    for raw in data.removeprefix(_BYTE_ORDER_MARK).decode("latin-1").split("\n"):
        line = raw.removesuffix("\r")
        trimmed = _TRAILING_SPACES.fullmatch(line)
        found.append(trimmed[1] if trimmed else line)
    return found


class Gitignore:
    """The rules of all `.gitignore` files of a directory, and of those above it."""

    def __init__(self, *, repository: bool) -> None:
        self._specs: dict[str, PathSpec[Line]] = {}
        self._repository = repository  # it is one of git: `.git` is in it

    def add(self, folder: str, data: bytes) -> None:
        """Add the rules of the file in a folder; the root is the empty path."""
        found = lines(data)
        if not self._repository:
            found = [line for line in found if not _ANYTHING.fullmatch(line)]
        self._specs[folder] = PathSpec.from_lines(Line, found, backend="simple")

    def ignores(self, path: str, *, directory: bool) -> bool:
        """Return whether a path is ignored. No directory above it is: git does not enter those.

        The innermost file with a line that matches decides.
        """
        for folder in (*parents(path), ""):
            if spec := self._specs.get(folder):
                inner = path[len(folder) :].lstrip("/") + "/" * directory
                decided = spec.check_file(_as_bytes(inner)).include
                if decided is not None:
                    return decided
        return False


def _as_bytes(path: str) -> str:
    return os.fsencode(path).decode("latin-1")
