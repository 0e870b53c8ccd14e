"""Results for people: one line for each check, failures last, then what to do."""

from collections.abc import Sequence

from validation.model import Result, Status, one_line

#: The order of the lines: what needs attention is read last.
ORDER = (Status.PASS, Status.SKIP, Status.NOT_EXAMINED, Status.FAIL)
NAMES = {Status.NOT_EXAMINED: "NOT EXAMINED"}


def lines(results: Sequence[Result]) -> list[str]:
    """Return the lines of results, and what to do about those that block."""
    ordered = sorted(results, key=lambda r: (r.blocks, ORDER.index(r.status)))
    width = max((len(result.check.title) for result in results), default=0)
    return [*(text for result in ordered for text in _lines(result, width)), *_hints(results)]


def line(result: Result) -> str:
    """Return one result as a line, for progress."""
    name = NAMES.get(result.status, str(result.status))
    return f"{name} {result.check.id}: {one_line(result.finding.observed)}"


def _lines(result: Result, width: int) -> list[str]:
    found = result.finding
    name = NAMES.get(result.status, str(result.status))
    seen = one_line(found.observed)
    if result.status is Status.FAIL:
        seen += f"; expected: {found.expected}"
    if result.accepted:
        seen += f" (accepted: {result.accepted.reason})"
    label = f"  {name:<12}  "
    lines = [f"{label}{result.check.title:<{width}}  {seen}".rstrip()]
    return [*lines, *(f"{'':<{len(label)}}warning: {one_line(text)}" for text in found.warnings)]


def _hints(results: Sequence[Result]) -> list[str]:
    hints = [
        f"  hint: {result.finding.hint or result.check.remedy}"
        for result in results
        if result.blocks
    ]
    return list(dict.fromkeys(hints))
