"""What a function of `Acso` returns: its text, with what only `acso` can make use of."""


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
