"""Tables of text: aligned columns, or a paragraph for each row where a terminal is too narrow."""

import os
import re
import sys
import textwrap
from collections.abc import Sequence
from typing import TextIO

EMPTY = frozenset({"", "-"})
#: Keeps a column's name and its value on one line.
TOGETHER = "\N{NO-BREAK SPACE}"


#: A command to copy, up to the punctuation that ends it.
COMMAND = re.compile(r"(?:\./)?acso [a-z][^;,()]*[^;,()\s]|\S+://\S+")


def terminal_width(stream: TextIO | None = None) -> int:
    """Return the columns of the terminal that shows a stream (standard output), 0 if there is none.

    COLUMNS, if set, takes precedence, as in most programs.
    """
    columns = os.environ.get("COLUMNS", "")
    if re.fullmatch(r"[1-9][0-9]{0,3}", columns):
        return int(columns)
    try:
        return os.get_terminal_size((stream or sys.stdout).fileno()).columns
    except (OSError, ValueError, AttributeError):
        return 0


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    width: int,
    indent: str = "",
    header: bool = True,
) -> list[str]:
    """Return the lines of a table.

    Args:
        heads: the names of the columns.
        rows: the cells; the first of each row names it.
        width: columns of the terminal, 0 for any number. If the table is wider, each row is a
            paragraph: its first cell, and below it the others with their names.
        indent: begins every line.
        header: show the names above the columns.
    """
    shown = [heads, *rows] if header else list(rows)
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = [indent + "  ".join(map(str.ljust, row, widths)).rstrip() for row in shown]
    if not width or max(map(len, lines), default=0) <= width:
        return lines
    return [line for row in rows for line in _paragraph(heads, row, width=width, indent=indent)]


def folded(line: str, *, width: int, indent: str = "") -> list[str]:
    """Return a line as lines of at most this width, 0 for any; later ones are indented further."""
    if not width or len(indent + line) <= width:
        return [indent + line]
    return _fill(line, width, indent, indent + "  ")


def fitted(text: str, *, width: int) -> str:
    """Return a text whose lines have at most this width, 0 for any; the rest is indented further.

    Commands to copy and the lines that a task wrote (`| ...`) are not broken.
    """
    lines: list[str] = []
    for line in text.split("\n"):
        content = line.lstrip(" ")
        kept = content.startswith("| ")
        whole = COMMAND.sub(lambda found: found[0].replace(" ", TOGETHER), content)
        indent = " " * (len(line) - len(content))
        wrapped = [line] if kept else folded(whole, width=width, indent=indent)
        lines += [item.replace(TOGETHER, " ") for item in wrapped]
    return "\n".join(lines)


def _paragraph(heads: Sequence[str], row: Sequence[str], *, width: int, indent: str) -> list[str]:
    cells = [
        f"{head}{TOGETHER}{cell}"
        for head, cell in zip(heads[1:], row[1:], strict=True)
        if cell not in EMPTY
    ]
    text = _fill(", ".join(cells), width, f"{indent}  ", f"{indent}  ")
    return [indent + row[0], *(line.replace(TOGETHER, " ") for line in text)]


def _fill(text: str, width: int, first: str, later: str) -> list[str]:
    return textwrap.wrap(
        text,
        max(width, len(later) + 10),
        initial_indent=first,
        subsequent_indent=later,
        break_on_hyphens=False,
        break_long_words=False,
    )
