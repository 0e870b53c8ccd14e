"""Files of variables: `NAME=value` lines whose values are words of a shell."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ci.engine.errors import EngineError
from ci.engine.formats.shellwords import join_words
from ci.engine.values import with_pair

_LINE = re.compile(r"(?:export\s+)?([^\s=#]+)(?:=(.*))?", re.DOTALL)
_QUOTED = {'"': re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL), "'": re.compile(r"'[^']*'")}
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[-\s.]+")


@dataclass(frozen=True)
class EnvFile:
    """Variables in order, values as written."""

    raw: tuple[tuple[str, str], ...] = ()
    context: tuple[tuple[str, str], ...] = ()  # variables that values may refer to, not shown

    @classmethod
    def parse(cls, data: bytes) -> "EnvFile":
        """Return the variables of a file, without empty lines and comments.

        Raises:
            EngineError: a line is not `NAME=value`.
        """
        found = cls()
        for line in _lines(data.decode("utf-8-sig", "surrogateescape")):
            hit = _LINE.fullmatch(line)
            if hit is None:
                raise EngineError(f"env file: the line {line!r} is not NAME=value")
            found = found.with_variable(hit[1], hit[2] or "")
        return found

    def with_variable(self, name: str, value: str | None) -> "EnvFile":
        """Return the file with a variable set, in its place if it exists, or removed if None."""
        return replace(self, raw=with_pair(self.raw, name, value))

    def values(self) -> dict[str, str]:
        """Return the variables by name, without quotes, with references replaced.

        A reference names a variable of the file, or else of this host.
        """
        return {name: self.get(name) for name in sorted(dict(self.raw))}

    def get(self, name: str) -> str:
        """Return the value of a variable, empty if the file has none of that name.

        Raises:
            EngineError: the value is malformed, or refers to a variable that is not set.
        """
        if name not in dict(self.raw):
            return ""
        try:
            return self._value(name, ())
        except EngineError as error:
            raise EngineError(f"env file: {name}: {error}") from error

    def _value(self, name: str, users: tuple[str, ...]) -> str:
        """Return the value of a variable for those that refer to it, the outermost first."""
        known = {**dict(self.context), **dict(self.raw)}
        if name not in known:
            return os.environ.get(name, "")
        if name in users:
            return ""  # refers to itself
        return join_words(known[name], lambda other: self._value(other, (*users, name)))

    def namespace(self, prefix: str) -> "EnvFile":
        """Return the variables with a prefix, without it; `_` is added, case is ignored."""
        snake = _WORD_START.sub("_", prefix).removesuffix("_")
        wanted = tuple(f"{each.lower()}_" for each in (snake, snake.replace("_", "")))
        inside, outside = [], list(self.context)
        for name, value in self.raw:
            known = name.lower().replace("-", "_")
            found = next((each for each in wanted if known.startswith(each)), None)
            if found is None:
                outside.append((name, value))
            else:
                inside.append((name[len(found) :], value))
        return EnvFile(tuple(inside), tuple(outside))

    def text(self) -> str:
        """Return the file's contents."""
        return "".join(f"{name}={value}\n" for name, value in self.raw)


def _lines(text: str) -> Iterator[str]:
    """Yield the lines that set a variable; a quoted value may go over several."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        line = lines[at].strip()
        at += 1
        value = line.partition("=")[2]
        quoted = _QUOTED.get(value[:1])
        if quoted and not quoted.match(value):
            whole = quoted.match("\n".join([value, *lines[at:]]))
            if whole is not None:
                more = whole[0].count("\n")
                line = "\n".join([line, *lines[at : at + more]]).strip()
                at += more
        if line and not line.startswith("#"):
            yield line
