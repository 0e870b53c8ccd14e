"""Files of variables: `NAME=value` lines with quotes, comments and expansion."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ci.engine.values import with_pair

_NAME = re.compile(r"(?:export\s+)?([A-Za-z_][\w.-]*)\s*(?:=|$)")
_REFERENCE = re.compile(r"\\(.)|\$(?:\{([^}]*)\}|(\w+))", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True)
class EnvFile:
    """Variables in order, values as written."""

    raw: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "EnvFile":
        """Return the variables of a file; empty lines and comments are left out."""
        found = cls()
        for line in text.splitlines():
            if (hit := _NAME.match(line.strip())) is not None:
                found = found.with_variable(hit[1], line.strip()[hit.end() :].strip())
        return found

    def with_variable(self, name: str, value: str | None) -> "EnvFile":
        """Return the file with a variable set, in its place if it exists, or removed if None."""
        return EnvFile(with_pair(self.raw, name, value))

    def values(self) -> dict[str, str]:
        """Return the variables without quotes, with references replaced.

        A reference names an earlier variable of the file, or a variable of this host.
        """
        found: dict[str, str] = {}
        for name, raw in self.raw:
            found[name] = _value(raw, {**os.environ, **found})
        return found

    def namespace(self, prefix: str) -> "EnvFile":
        """Return the variables with a prefix, without it; `_` is added, case is ignored.

        As in Dagger, their values are those of `values`.
        """
        wanted = prefix.replace("-", "_").removesuffix("_").lower() + "_"
        pairs = self.values().items()
        return EnvFile(
            tuple((n[len(wanted) :], v) for n, v in pairs if n.lower().startswith(wanted))
        )

    def text(self) -> str:
        """Return the file's contents."""
        return "".join(f"{name}={value}\n" for name, value in self.raw)


def _value(raw: str, known: Mapping[str, str]) -> str:
    """Return a written value without quotes; references in single quotes are not replaced."""
    if raw[:1] == "'" and (end := raw.find("'", 1)) > 0:
        return raw[1:end]
    if raw[:1] == '"' and (hit := re.match(r'"((?:[^"\\]|\\.)*)"', raw, re.DOTALL)):
        return _expanded(hit[1], known)
    return _expanded(re.split(r"\s#", raw)[0].rstrip(), known)


def _expanded(text: str, known: Mapping[str, str]) -> str:
    def replaced(hit: re.Match[str]) -> str:
        if hit[1]:
            return _ESCAPES.get(hit[1], hit[1])
        name, _, fallback = (hit[2] or hit[3] or "").partition(":-")
        return known.get(name) or fallback

    return _REFERENCE.sub(replaced, text)
