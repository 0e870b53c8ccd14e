"""Checks and their results as values."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ci.aws.probing import DIRECT, Probe
from ci.aws.target import Target
from ci.config import Accepted
from ci.errors import AcsoError
from validation.reads import Reads


class Status(StrEnum):
    """Result of a check.

    SKIP means that the check does not apply, by a rule in its data. NOT_EXAMINED means that it
    could not look (a permission, a timeout, no data), and never counts as a pass.
    """

    PASS = "PASS"  # noqa: S105 (no password)
    FAIL = "FAIL"
    SKIP = "SKIP"
    NOT_EXAMINED = "NOT_EXAMINED"


class UnreadableError(AcsoError):
    """A check cannot look, and looking again would not help; the result is NOT_EXAMINED."""


class Severity(StrEnum):
    """How bad it is if a check fails; every failure blocks a release, whatever its severity."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True, kw_only=True)
class CheckContext(Target):
    """What a check is run on: an environment, its load balancer's base URL, and shared reads.

    `probe` sends the requests to the load balancer.
    """

    url: str
    probe: Probe = DIRECT
    reads: Reads = field(default_factory=Reads, compare=False, repr=False)


@dataclass(frozen=True)
class Evidence:
    """How much of something was read: `read` of `of` things, such as 5 of 5 services."""

    what: str
    read: int
    of: int

    def __str__(self) -> str:
        return f"{self.read} of {self.of} {self.what}"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a check observed and expected, and what it read; `hint` says what to do."""

    status: Status
    observed: str
    expected: str
    evidence: tuple[Evidence, ...] = ()
    warnings: tuple[str, ...] = ()
    hint: str = ""


#: Returns why a check does not apply to an environment, empty if it does.
Rule = Callable[[CheckContext], str | Awaitable[str]]


def always(_: CheckContext) -> str:
    """Say that a check applies to every environment: the rule of most checks."""
    return ""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check: a function with data beside it.

    Attributes:
        id: `AREA.NAME`, such as `network.tls`; it never changes.
        title: what it claims, as a sentence without a full stop.
        run: the function; it returns a finding, or raises `AwsError`: not examined.
        severity: how bad a failure is.
        reads: AWS actions (`ecs:DescribeServices`) and paths of agents (`GET /health`).
        why: what goes wrong if it fails.
        remedy: what to do if it fails.
        controls: ids of the controls that it answers, such as `FSBP ECS.2` or `CIS 1.16`.
        applies: returns why the check does not apply to an environment; empty if it does. A rule
            that reads AWS raises like a check: then it is not examined.
        patience: seconds for which a failure is looked at again before it counts.
        seconds: the check's timeout.
    """

    id: str
    title: str
    run: Callable[[CheckContext], Awaitable[Finding]]
    severity: Severity
    reads: tuple[str, ...]
    why: str
    remedy: str
    controls: tuple[str, ...] = ()
    applies: Rule = always
    patience: float = 0.0
    seconds: float = 30.0


@dataclass(frozen=True, kw_only=True)
class Result:
    """A check's finding, how long the check took, and how often it looked.

    `accepted` is the exception under which a failure, or what was not examined, does not count.
    """

    check: Check
    finding: Finding
    seconds: float
    attempts: int = 1
    accepted: Accepted | None = None

    @property
    def status(self) -> Status:
        """The finding's status."""
        return self.finding.status

    @property
    def blocks(self) -> bool:
        """Whether the result alone keeps the suite from passing."""
        return self.status in (Status.FAIL, Status.NOT_EXAMINED) and self.accepted is None

    def data(self) -> dict[str, Any]:
        """Return the result for machines (docs/validation-results.schema.json)."""
        found, check = self.finding, self.check
        return {
            "check": check.id,
            "title": check.title,
            "severity": str(check.severity),
            "status": str(self.status),
            "blocks": self.blocks,
            "observed": found.observed,
            "expected": found.expected,
            "evidence": [vars(item) for item in found.evidence],
            "warnings": list(found.warnings),
            "hint": found.hint,
            "why": check.why,
            "remedy": check.remedy,
            "controls": list(check.controls),
            "reads": list(check.reads),
            "attempts": self.attempts,
            "seconds": round(self.seconds, 3),
            "accepted": vars(self.accepted) if self.accepted else None,
        }


def one_line(text: str) -> str:
    """Return a text with every run of white space as one space."""
    return " ".join(text.split())


def passed(
    observed: str, expected: str, *evidence: Evidence, warnings: Sequence[str] = ()
) -> Finding:
    """Return a PASS with what was read; without evidence the runner does not believe it."""
    return Finding(
        status=Status.PASS,
        observed=observed,
        expected=expected,
        evidence=evidence,
        warnings=tuple(warnings),
    )


def failed(
    observed: str,
    expected: str,
    *evidence: Evidence,
    hint: str = "",
    warnings: Sequence[str] = (),
) -> Finding:
    """Return a FAIL."""
    return Finding(
        status=Status.FAIL,
        observed=observed,
        expected=expected,
        evidence=evidence,
        hint=hint,
        warnings=tuple(warnings),
    )


def not_examined(observed: str, *evidence: Evidence, hint: str = "") -> Finding:
    """Return a NOT_EXAMINED: why the check could not look."""
    return Finding(
        status=Status.NOT_EXAMINED,
        observed=observed,
        expected="the check can look",
        evidence=evidence,
        hint=hint,
    )


def judged(
    problems: Sequence[str],
    *evidence: Evidence,
    observed: str,
    expected: str,
    hint: str = "",
    warnings: Sequence[str] = (),
) -> Finding:
    """Return a FAIL that lists the problems, or a PASS if there is none."""
    if problems:
        return failed("; ".join(problems), expected, *evidence, hint=hint, warnings=warnings)
    return passed(observed, expected, *evidence, warnings=warnings)
