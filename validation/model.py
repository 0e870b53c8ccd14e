"""Checks and their results as values."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ci.aws.probing import DIRECT, Probe
from ci.aws.target import Target


class Status(StrEnum):
    """Result of a check. ERROR means that it could not be run, and never counts as a pass."""

    PASS = "PASS"  # noqa: S105 (no password)
    FAIL = "FAIL"
    SKIP = "SKIP"
    ERROR = "ERROR"


@dataclass(frozen=True, kw_only=True)
class CheckContext(Target):
    """What a check is run on: an environment, its load balancer's base URL, and the way there."""

    url: str
    probe: Probe = DIRECT


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a check observed and expected; `hint` says what to do if they differ."""

    status: Status
    observed: str
    expected: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check: its name, what it claims, its function, and its timeout in seconds."""

    name: str
    sentence: str
    run: Callable[[CheckContext], Awaitable[Finding]]
    seconds: float = 30.0


@dataclass(frozen=True, kw_only=True)
class Result:
    """A check's finding, and how long the check took."""

    check: str
    sentence: str
    finding: Finding
    seconds: float

    @property
    def status(self) -> Status:
        """The finding's status."""
        return self.finding.status

    def data(self) -> dict[str, Any]:
        """Return the result for machines."""
        return {
            "check": self.check,
            "sentence": self.sentence,
            "status": str(self.status),
            "observed": self.finding.observed,
            "expected": self.finding.expected,
            "hint": self.finding.hint,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, kw_only=True)
class Report:
    """The results of a suite on an environment, in the suite's order."""

    suite: str
    environment: str
    results: tuple[Result, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every check was run, none failed, and at least one passed."""
        statuses = {result.status for result in self.results}
        return Status.PASS in statuses and statuses <= {Status.PASS, Status.SKIP}

    def summary(self) -> str:
        """Return how many checks passed, and a line for each other with what it observed."""
        bad = [r for r in self.results if r.status not in (Status.PASS, Status.SKIP)]
        problems = [f"  {r.sentence}: {_one_line(r.finding.observed)}" for r in bad]
        return "\n".join([self.counted(), *problems])

    def counted(self) -> str:
        """Return how many checks passed."""
        passed = sum(result.status is Status.PASS for result in self.results)
        return f"{passed} of {len(self.results)} {self.suite} checks passed"

    def text(self) -> str:
        """Return the report for people: one line for each check, then what to do."""
        width = max((len(result.sentence) for result in self.results), default=0)
        lines = [f"{self.suite} checks of {self.environment} ({self.seconds:.1f} s)"]
        for result in self.results:
            found = result.finding
            expected = f"; expected: {found.expected}"
            seen = found.observed + expected * (result.status not in (Status.PASS, Status.SKIP))
            lines.append(
                f"  {result.status:<5}  {result.sentence:<{width}}  {_one_line(seen)}".rstrip()
            )
        hints = dict.fromkeys(r.finding.hint for r in self.results if r.finding.hint)
        return "\n".join([*lines, *(f"  hint: {hint}" for hint in hints), self.counted()])

    def data(self) -> dict[str, Any]:
        """Return the report for machines."""
        return {
            "suite": self.suite,
            "environment": self.environment,
            "ok": self.ok,
            "seconds": round(self.seconds, 3),
            "results": [result.data() for result in self.results],
        }


def _one_line(text: str) -> str:
    return " ".join(text.split())


def passed(observed: str, expected: str) -> Finding:
    """Return a PASS."""
    return Finding(status=Status.PASS, observed=observed, expected=expected)


def failed(observed: str, expected: str, *, hint: str = "") -> Finding:
    """Return a FAIL."""
    return Finding(status=Status.FAIL, observed=observed, expected=expected, hint=hint)


def error(observed: str, *, hint: str = "") -> Finding:
    """Return an ERROR: why the check could not be run."""
    expected = "the check can be run"
    return Finding(status=Status.ERROR, observed=observed, expected=expected, hint=hint)
