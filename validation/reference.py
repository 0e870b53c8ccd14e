"""The tables of all checks in docs/validation.md, made from the checks themselves.

What breaks each of them comes from the tests, which write the document
(`python -m tests.unit.validation.shown docs/validation.md`) and compare it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from validation.model import Check
from validation.suites import SUITES

BEGIN, END = "<!-- checks -->\n", "<!-- end of checks -->\n"
#: A suite of checks of another one: listed by name only.
COMPLIANCE = "compliance"


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What breaks a check, and where a test showed that it fails then."""

    what: tuple[str, ...]
    where: tuple[str, ...]


def document(text: str, shown: Mapping[str, Shown]) -> str:
    """Return a document with the tables between its markers replaced."""
    head, _, rest = text.partition(BEGIN)
    tables = "\n".join(_suite(name, checks, shown) for name, checks in SUITES.items())
    return f"{head}{BEGIN}\n{tables}\n{END}{rest.partition(END)[2]}"


def _suite(name: str, checks: tuple[Check, ...], shown: Mapping[str, Shown]) -> str:
    if name == COMPLIANCE:
        names = ", ".join(f"`{check.id}`" for check in checks)
        return f"### {name}\n\nThe checks of `production` that have controls: {names}.\n"
    lines = [
        f"### {name}\n",
        "| check | what it claims | severity | reads | controls | what breaks it | where shown |",
        "|---|---|---|---|---|---|---|",
        *(_row(check, shown[check.id]) for check in checks),
    ]
    return "\n".join([*lines, ""])


def _row(check: Check, shown: Shown) -> str:
    cells = (
        f"`{check.id}`",
        check.title,
        str(check.severity),
        ", ".join(check.reads),
        ", ".join(check.controls) or "-",
        "; ".join(shown.what),
        ", ".join(shown.where),
    )
    return f"| {' | '.join(cells)} |"
