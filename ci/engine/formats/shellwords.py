"""Values of variables as words of a shell: quotes, escapes and references, nothing that executes.

The words are joined by one space, as Dagger does with the value of an env file.
"""

import re
from collections.abc import Callable

from ci.engine.errors import EngineError

#: Returns the value of a variable; an empty one counts as not set.
Lookup = Callable[[str], str]

_FEATURE = re.compile(r"[`\"'\\]|\$[A-Za-z_{(]")
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_OPERATION = re.compile(r"(#?)([A-Za-z_]\w*)(?:(:?[-+=?])(.*))?", re.ASCII | re.DOTALL)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPES = dict(zip("abefnrtv", "\a\b\x1b\f\n\r\t\v", strict=True))


def join_words(text: str, lookup: Lookup) -> str:
    """Return a value without quotes, its references replaced; raises `EngineError`."""
    if not _FEATURE.search(text):
        return text
    return " ".join(_Parser(text, lookup).fields())


class _Parser:
    def __init__(self, text: str, lookup: Lookup) -> None:
        self._text, self._lookup, self._at = text, lookup, 0

    def fields(self) -> list[str]:
        """Return the words up to a comment or the end of the command."""
        self._fields: list[str] = []
        self._word: str | None = None
        while (character := self._peek()) and character not in ";&\n":
            if character == "#" and self._word is None:
                break
            self._step(character)
        self._end_word()
        return self._fields

    def _step(self, character: str) -> None:
        if character in " \t":
            self._at += 1
            self._end_word()
        elif character in "|()<>":
            raise EngineError(f"{self._text!r} is more than words: quote the {character}")
        elif character == "~" and self._word is None and self._peek(1) in ("/", "", " "):
            self._at += 1
            self._add(self._lookup("HOME"))
        elif character == "$" and self._peek(1) not in ("'", '"'):
            self._add_split(self._reference())
        else:
            self._add(self._plain(character))

    def _plain(self, character: str) -> str:
        """Read one character, or a quoted text."""
        self._at += 1
        match character:
            case "'":
                return self._until("'")
            case '"':
                return self._double()
            case "$" if self._peek() == "'":
                self._at += 1
                return self._ansi()
            case "$":  # before a double quote: a text to be translated
                return ""
            case "\\":
                self._at += 1
                return self._text[self._at - 1 : self._at].removesuffix("\n")
            case "`":
                raise self._substitution()
        return character

    def _double(self) -> str:
        found = ""
        while (character := self._peek()) != '"':
            if not character:
                raise EngineError(f'{self._text!r} has no closing "')
            if character == "$":
                found += self._reference()
            elif character == "`":
                raise self._substitution()
            elif character == "\\" and self._peek(1) in ("$", "`", '"', "\\", "\n"):
                found += self._peek(1).removesuffix("\n")
                self._at += 2
            else:
                found += character
                self._at += 1
        self._at += 1
        return found

    def _ansi(self) -> str:
        """Read a text in `$'...'`, after the quote."""
        hit = re.compile(r"((?:[^'\\]|\\.)*)'", re.DOTALL).match(self._text, self._at)
        if hit is None:
            raise EngineError(f"{self._text!r} has no closing '")
        self._at = hit.end()
        return _ESCAPE.sub(_escaped, hit[1])

    def _until(self, end: str) -> str:
        start, stop = self._at, self._text.find(end, self._at)
        if stop < 0:
            raise EngineError(f"{self._text!r} has no closing {end}")
        self._at = stop + 1
        return self._text[start:stop]

    # --- references ---------------------------------------------------------------------------
    def _reference(self) -> str:
        """Read `$NAME` or `${NAME...}` and return its value; a lone `$` stands for itself."""
        self._at += 1
        if self._peek() == "(":
            raise self._substitution()
        if self._peek() == "{":
            return self._parameter(self._braces())
        if hit := _NAME.match(self._text, self._at):
            self._at = hit.end()
            return self._value(hit[0])
        if (special := self._peek()) and special in "0123456789@*#?$!-":
            raise _unbound(special)
        return "$"

    def _braces(self) -> str:
        """Read up to the brace that closes the one here; return what is between."""
        start = self._at + 1
        depth = 0
        while self._peek():
            depth += {"{": 1, "}": -1}.get(self._peek(), 0)
            self._at += 1 + (self._peek() == "\\")
            if not depth:
                return self._text[start : self._at - 1]
        raise EngineError(f"{self._text!r} has no closing }}")

    def _parameter(self, inner: str) -> str:
        hit = _OPERATION.fullmatch(inner)
        if hit is None or (hit[1] and hit[3]):
            raise EngineError(f"${{{inner}}}: only a default value or a length is supported here")
        length, name, operation, word = hit.groups()
        value = self._lookup(name)
        match (operation or "")[-1:]:
            case "":
                return str(len(value)) if length else self._value(name)
            case "+":
                return self._word_of(word) if value else ""
            case "?" if not value:
                raise EngineError(f"{name}: {self._word_of(word) or 'parameter not set'}")
        return value or self._word_of(word)

    def _word_of(self, text: str) -> str:
        return " ".join(_Parser(text, self._lookup).fields())

    def _value(self, name: str) -> str:
        if not (value := self._lookup(name)):
            raise _unbound(name)
        return value

    # --- words --------------------------------------------------------------------------------
    def _peek(self, ahead: int = 0) -> str:
        return self._text[self._at + ahead : self._at + ahead + 1]

    def _add(self, text: str) -> None:
        self._word = (self._word or "") + text

    def _add_split(self, value: str) -> None:
        """Add the value of a reference outside quotes, which may be several words."""
        for at, part in enumerate(re.split(r"[ \t\n]+", value)):
            if at:
                self._end_word()
            if part:
                self._add(part)

    def _end_word(self) -> None:
        if self._word is not None:
            self._fields.append(self._word)
        self._word = None

    def _substitution(self) -> EngineError:
        return EngineError(f"{self._text!r}: a command is not executed here; quote it")


def _escaped(hit: re.Match[str]) -> str:
    text = hit[1]
    if text[0] == "x" and len(text) > 1:
        return chr(int(text[1:], 16))
    if text[0] in "01234567":
        return chr(int(text, 8))
    return _ESCAPES.get(text, text if text in "\\'\"?" else f"\\{text}")


def _unbound(name: str) -> EngineError:
    return EngineError(f"{name}: the variable is not set; ${{{name}:-}} stands for nothing")
