"""The results of the functions of `Acso`: a text with a JSON document and an exit code."""

import json
from collections.abc import Mapping
from typing import Any, Protocol


class CommandResult(Protocol):
    """A result that can be rendered as text or as JSON."""

    def text(self) -> str:
        """Return the text for people."""

    def data(self) -> Mapping[str, Any]:
        """Return the data of the JSON document."""


class RenderedResult(str):
    """A text, the JSON document of the same result, and the exit code of `acso`.

    `dagger call` sees only the text: its exit code is 0 unless there is an error, and `--output`
    writes the text. With `--format json` the text is the JSON document.
    """

    __slots__ = ("document", "exit_code")

    document: str
    exit_code: int

    def __new__(cls, text: str, *, document: str, exit_code: int = 0) -> "RenderedResult":
        """Return a text with its document and exit code."""
        result = super().__new__(cls, text)
        result.document, result.exit_code = document, exit_code
        return result


def rendered(result: CommandResult, *, as_json: bool, exit_code: int = 0) -> str:
    """Return a result rendered as text or JSON, with its document and exit code."""
    document = json.dumps(result.data(), indent=2)
    return RenderedResult(
        document if as_json else result.text(), document=document, exit_code=exit_code
    )
