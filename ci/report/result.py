"""What a function of `Acso` returns: its text, with what only `acso` can make use of."""

import json
from collections.abc import Mapping
from typing import Any, Protocol


class Told(Protocol):
    """A result for people and for machines."""

    def text(self) -> str:
        """Return it for people."""

    def data(self) -> Mapping[str, Any]:
        """Return it for machines."""


class Result(str):
    """A text, its JSON document, and the exit code that `acso` ends with.

    To `dagger call` it is its text alone: there every end that is no error is exit code 0, and
    `--output` writes the text, which `--format json` makes the document.
    """

    __slots__ = ("document", "exit_code")

    document: str
    exit_code: int

    def __new__(cls, text: str, *, document: str, exit_code: int = 0) -> "Result":
        """Return a text that carries its document and an exit code."""
        made = super().__new__(cls, text)
        made.document, made.exit_code = document, exit_code
        return made


def written(told: Told, *, as_json: bool, exit_code: int = 0) -> str:
    """Return a result as text or JSON, with the document and exit code that go with it."""
    document = json.dumps(told.data(), indent=2)
    return Result(document if as_json else told.text(), document=document, exit_code=exit_code)
