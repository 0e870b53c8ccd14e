"""The table of all checks in docs/validation.md, made from the checks themselves.

`python -m validation.reference docs/validation.md` writes it; a test compares it.
"""

import sys
from pathlib import Path

from validation.model import Check
from validation.suites import SUITES

BEGIN, END = "<!-- checks -->\n", "<!-- end of checks -->\n"


def table() -> str:
    """Return the checks as Markdown: a table for each suite."""
    return "\n".join(_suite(name, checks) for name, checks in SUITES.items())


def document(text: str) -> str:
    """Return a document with the tables between its markers replaced."""
    head, _, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


def _suite(name: str, checks: tuple[Check, ...]) -> str:
    lines = [
        f"### {name}\n",
        "| check | what it claims | severity | reads | controls |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| `{check.id}` | {check.title} | {check.severity} | {', '.join(check.reads)} | "
        f"{', '.join(check.controls) or '-'} |"
        for check in checks
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(document(path.read_text(encoding="utf-8")), encoding="utf-8")
