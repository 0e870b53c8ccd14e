"""Where the keys of a TOML text are written: `tomllib` does not tell.

Only for texts that `tomllib` accepts, so that this need not recognise what is wrong.
"""

import re
from contextlib import suppress
from dataclasses import dataclass

TOKEN = re.compile(
    r"""
    (?P<skip> [ \t\r]+ | \#[^\n]* )
  | (?P<text> \"{3}(?:\\.|[^\\])*?\"{3,5} | '{3}.*?'{3,5} | "(?:\\.|[^"\\\n])*" | '[^'\n]*' )
  | (?P<bare> [A-Za-z0-9_-]+ )
  | (?P<mark> [][{}=.,\n] )
  | (?P<rest> . )
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Position:
    """A place in a text; lines and columns are counted from 1."""

    line: int
    column: int


def positions(text: str) -> dict[str, Position]:
    """Return where each table, key and list item of a TOML text begins, by its dotted name.

    An item of a list has its number in the name, as in `subscriptions[0]`.
    """
    scan = _Scan(text)
    with suppress(RecursionError):  # values nested too deeply: what was found until there
        scan.statements()
    return scan.found


def position(found: dict[str, Position], where: str) -> Position | None:
    """Return the position of a key; of the table that it is missing in if it is not there."""
    while where:
        if where in found:
            return found[where]
        where = where.rpartition("[" if where.endswith("]") else ".")[0]
    return None


class _Scan:
    """Reads the tokens of a text one after the other."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [item for item in TOKEN.finditer(text) if item.lastgroup != "skip"]
        self._at = 0
        self.found: dict[str, Position] = {}

    def statements(self) -> None:
        """Read all lines: headers of tables, and keys with their values."""
        table = ""
        while self._at < len(self._tokens):
            if self._next("\n"):
                continue
            if self._next("["):
                self._next("[")
                table = self._key("")
                while self._next("]"):
                    pass
            else:
                self._pair(table)

    def _pair(self, table: str) -> None:
        where = self._key(table)
        self._next("=")
        self._value(where)

    def _key(self, table: str) -> str:
        """Read a dotted key; return its name, and keep where it begins."""
        start, where = self._tokens[self._at].start(), table
        while True:
            where = f"{where}.{self._word()}" if where else self._word()
            self._keep(where, start)
            if not self._next("."):
                return where

    def _value(self, where: str) -> None:
        if self._next("{"):
            while not self._next("}"):
                if not (self._next(",") or self._next("\n")):
                    self._pair(where)
        elif self._next("["):
            self._items(where)
        else:
            while self._at < len(self._tokens) and self._mark() not in {",", "]", "}", "\n"}:
                self._at += 1

    def _items(self, where: str) -> None:
        number = 0
        while not self._next("]"):
            if self._next(",") or self._next("\n"):
                continue
            item = f"{where}[{number}]"
            self._keep(item, self._tokens[self._at].start())
            self._value(item)
            number += 1

    def _word(self) -> str:
        """Read one part of a key, without its quotes."""
        token = self._tokens[self._at]
        self._at += 1
        return token[0].strip("\"'") if token.lastgroup == "text" else token[0]

    def _next(self, mark: str) -> bool:
        """Read a mark if it is the next token; return whether it was."""
        if self._at < len(self._tokens) and self._mark() == mark:
            self._at += 1
            return True
        return False

    def _mark(self) -> str:
        token = self._tokens[self._at]
        return token[0] if token.lastgroup == "mark" else ""

    def _keep(self, where: str, at: int) -> None:
        line = self._text.count("\n", 0, at) + 1
        column = at - (self._text.rfind("\n", 0, at) + 1) + 1
        self.found.setdefault(where, Position(line=line, column=column))
