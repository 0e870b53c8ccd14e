"""What a function of `Acso` returns: a text that also carries a JSON document and an exit code."""

import json
from collections.abc import Mapping
from typing import Any, Protocol


class CommandResult(Protocol):
    """A result that can be shown to people and read by machines."""

    def text(self) -> str:
        """Return it for people."""

    def data(self) -> Mapping[str, Any]:
        """Return it for machines."""


class RenderedResult(str):
    """A text, its JSON document, and the exit code that `acso` ends with.

    `dagger call` sees only the text. There, every end without an error is exit code 0, and
    `--output` writes the text; with `--format json` the text is the document.
    """

    __slots__ = ("document", "exit_code")

    document: str
    exit_code: int

    def __new__(cls, text: str, *, document: str, exit_code: int = 0) -> "RenderedResult":
        """Return a text that carries its document and an exit code."""
        made = super().__new__(cls, text)
        made.document, made.exit_code = document, exit_code
        return made


def rendered(result: CommandResult, *, as_json: bool, exit_code: int = 0) -> str:
    """Return a result as text or JSON, with the document and exit code that go with it."""
    document = json.dumps(result.data(), indent=2)
    return RenderedResult(
        document if as_json else result.text(), document=document, exit_code=exit_code
    )
