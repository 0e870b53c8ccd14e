"""The table of a benchmark, and what it measures of this process."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    what: str
    ours: float
    unit: str = "s"
    peer: float | None = None
    against: str = ""
    target: str = ""
    met: bool | None = None

    def cells(self) -> tuple[str, ...]:
        """Return the line's cells as text."""
        ratio = f"{self.ours / self.peer:.2f}" if self.peer else ""
        digits = 0 if self.unit == "MB" else 2
        verdict = {True: "yes", False: "NO", None: ""}[self.met]
        peer = f"{self.peer:.{digits}f} {self.unit}" if self.peer else ""
        ours = f"{self.ours:.{digits}f} {self.unit}"
        return self.what, ours, peer, ratio, self.against, self.target, verdict


HEAD = ("what", "ours", "peer", "ratio", "peer is", "target", "met")


def table(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    cells = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(HEAD))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in cells
    ]
    yield lines[0]
    yield "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    yield from lines[1:]


def peak_memory() -> float:
    """Return the peak memory of this process in MB.

    `getrusage` reports at least the memory that its parent had when it started this process.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
