"""What the suites found, as one value."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from validation import console
from validation.model import Result, Status, one_line


class Verdict(StrEnum):
    """How a suite ended. UNDECIDED: nothing failed, but something could not be examined."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"


@dataclass(frozen=True, kw_only=True)
class Report:
    """The results of one or more suites on an environment, in their order."""

    suite: str
    environment: str
    results: tuple[Result, ...]
    seconds: float
    began: datetime.datetime = field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC), compare=False
    )

    @property
    def verdict(self) -> Verdict:
        """How it ended. A suite of which nothing passed has failed: nothing was looked at."""
        blocking = {result.status for result in self.results if result.blocks}
        if Status.FAIL in blocking:
            return Verdict.FAILED
        if blocking:
            return Verdict.UNDECIDED
        some = any(result.status is Status.PASS for result in self.results)
        return Verdict.PASSED if some else Verdict.FAILED

    @property
    def ok(self) -> bool:
        """Whether the suite passed."""
        return self.verdict is Verdict.PASSED

    def of(self, status: Status) -> list[Result]:
        """Return the results with this status."""
        return [result for result in self.results if result.status is status]

    def summary(self) -> str:
        """Return how many checks passed, and a line for each that blocks with what it observed."""
        bad = [result for result in self.results if result.blocks]
        problems = [
            f"  {_label(r)}{r.check.title}: {one_line(r.finding.observed)}"
            for r in sorted(bad, key=lambda r: r.status is not Status.FAIL)
        ]
        return "\n".join([self.counted(), *problems])

    def counted(self) -> str:
        """Return how many checks passed, and how many did not apply or were not examined."""
        parts = [f"{len(self.of(Status.PASS))} of {len(self.results)} {self.suite} checks passed"]
        skipped, unread = len(self.of(Status.SKIP)), len(self.of(Status.NOT_EXAMINED))
        accepted = sum(result.accepted is not None for result in self.results)
        parts += [f"{skipped} not applicable"] * bool(skipped)
        parts += [f"{unread} not examined"] * bool(unread)
        parts += [f"{accepted} accepted"] * bool(accepted)
        return ", ".join(parts)

    def data(self) -> dict[str, Any]:
        """Return the report for machines (docs/validation-results.schema.json)."""
        return {
            "suite": self.suite,
            "environment": self.environment,
            "verdict": str(self.verdict),
            "ok": self.ok,
            "began": self.began.isoformat(timespec="milliseconds"),
            "seconds": round(self.seconds, 3),
            "counts": {str(status): len(self.of(status)) for status in Status},
            "results": [result.data() for result in self.results],
        }

    def text(self) -> str:
        """Return the report for people."""
        head = f"{self.suite} checks of {self.environment} ({self.seconds:.1f} s)"
        return "\n".join([head, *console.lines(self.results), self.counted()])


def joined(reports: Sequence[Report]) -> Report:
    """Return the reports of several suites on one environment as one."""
    return Report(
        suite="+".join(report.suite for report in reports),
        environment=reports[0].environment,
        results=tuple(result for report in reports for result in report.results),
        seconds=sum(report.seconds for report in reports),
        began=reports[0].began,
    )


def _label(result: Result) -> str:
    return "not examined: " * (result.status is Status.NOT_EXAMINED)
