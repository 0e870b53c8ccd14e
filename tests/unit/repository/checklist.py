"""The checklist of docs/aws.md: its steps, their edits of acso.toml and their commands."""

import re
from dataclasses import dataclass

from tests.unit.repository.conftest import ROOT

DOCUMENT = ROOT / "docs" / "aws.md"
HEAD = "## First time: from an empty account to production\n"
STEP = re.compile(r"^(\d+)\. \*\*(.+?)\*\*", re.MULTILINE)
BLOCK = re.compile(r"^ *```(toml|sh)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
TABLE = re.compile(r"^\[([^\]]+)\]\n", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block of a step: `kind` is toml, an edit of acso.toml, or sh, commands."""

    step: int
    kind: str
    text: str

    @property
    def lines(self) -> list[str]:
        """Its lines that are not empty."""
        return [line for line in self.text.splitlines() if line]


def section() -> str:
    """Return the text of the checklist, without what it says of the embedded AWS."""
    text = DOCUMENT.read_text(encoding="utf-8").partition(HEAD)[2]
    return text.partition("\n## ")[0].partition("\n### ")[0]


def blocks() -> list[Block]:
    """Return the blocks in their order."""
    text = section()
    steps = [(match.start(), int(match[1])) for match in STEP.finditer(text)]
    found = []
    for match in BLOCK.finditer(text):
        step = max(number for start, number in steps if start < match.start())
        lines = [line.strip() for line in match[2].splitlines()]
        found.append(Block(step=step, kind=match[1], text="\n".join(lines) + "\n"))
    return found


def edited(acso_toml: str, edit: str) -> str:
    """Return acso.toml with the lines of a block below the headers of their tables."""
    parts = TABLE.split(edit)[1:]
    for table, lines in zip(parts[::2], parts[1::2], strict=True):
        header = f"[{table}]\n"
        assert header in acso_toml, f"acso.toml has no {header}"
        acso_toml = acso_toml.replace(header, header + lines.rstrip("\n") + "\n", 1)
    return acso_toml
