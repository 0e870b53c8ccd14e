"""What verifying an environment finds: every problem with the resource, what lacks, and the fix."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ci.errors import VerifyError


class Status(StrEnum):
    """What a look came to. ERROR is that it could not be had: never as good as a pass."""

    PASS = "PASS"  # noqa: S105 (no password)
    FAIL = "FAIL"
    SKIP = "SKIP"
    ERROR = "ERROR"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at: how it is, which action somebody lacks, and what to do about it."""

    status: Status
    what: str
    told: str
    resource: str = ""
    action: str = ""  # IAM's name of what is not allowed
    fix: str = ""

    @property
    def bad(self) -> bool:
        """Whether a release must not begin."""
        return self.status in (Status.FAIL, Status.ERROR)

    def lines(self, width: int) -> list[str]:
        """Return the finding for people, with all that helps where it is a problem."""
        head = f"  {self.status:<5}  {self.what:<{width}}  {self.told}".rstrip()
        if not self.bad:
            return [head]
        more = {"resource": self.resource, "lacks": self.action, "fix": self.fix}
        return [head, *(f"         {name}: {value}" for name, value in more.items() if value)]

    def data(self) -> dict[str, Any]:
        """Return the finding for machines."""
        return {**vars(self), "status": str(self.status)}


@dataclass(frozen=True, kw_only=True)
class Verification:
    """All findings of an environment, in a fixed order."""

    environment: str
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """What must be put right first."""
        return tuple(item for item in self.findings if item.bad)

    @property
    def ok(self) -> bool:
        """Whether everything could be looked at and nothing is wrong."""
        passed = any(item.status is Status.PASS for item in self.findings)
        return passed and not self.problems

    def summary(self) -> str:
        """Say in one line how many looks passed."""
        counts = dict.fromkeys(Status, 0)
        for item in self.findings:
            counts[item.status] += 1
        told = {
            Status.FAIL: "failed",
            Status.ERROR: "could not be looked at",
            Status.SKIP: "skipped",
        }
        rest = [f"{counts[status]} {word}" for status, word in told.items() if counts[status]]
        passed = f"{counts[Status.PASS]} of {len(self.findings)} passed"
        return ", ".join([passed, *rest])

    def text(self) -> str:
        """Return all findings for people."""
        return self._text(self.findings)

    def data(self) -> dict[str, Any]:
        """Return all findings for machines."""
        return {
            "environment": self.environment,
            "ok": self.ok,
            "findings": [item.data() for item in self.findings],
        }

    def raise_for_failure(self) -> None:
        """Raise `VerifyError` with every problem, not just the first."""
        if not self.ok:
            hint = f"nothing was changed; look again: ./acso verify --env {self.environment}"
            raise VerifyError(self._text(self.problems), hint=hint)

    def _text(self, findings: tuple[Finding, ...]) -> str:
        width = max((len(item.what) for item in findings), default=0)
        head = f"{self.environment}: {self.summary()}"
        return "\n".join([head, *(line for item in findings for line in item.lines(width))])


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is looked at: in a few words, and AWS's name of it."""

    what: str
    resource: str

    def passed(self, told: str) -> Finding:
        """Return that it is as it should be."""
        return self._finding(Status.PASS, told)

    def failed(self, told: str, fix: str, *, action: str = "") -> Finding:
        """Return what is wrong with it, and what to do."""
        return self._finding(Status.FAIL, told, action=action, fix=fix)

    def skipped(self, why: str) -> Finding:
        """Return why there is nothing to look at."""
        return self._finding(Status.SKIP, why)

    def unseen(self, why: str, fix: str = "", *, action: str = "") -> Finding:
        """Return why it could not be looked at."""
        return self._finding(Status.ERROR, why, action=action, fix=fix)

    def _finding(self, status: Status, told: str, *, action: str = "", fix: str = "") -> Finding:
        return Finding(
            status=status,
            what=self.what,
            told=told,
            resource=self.resource,
            action=action,
            fix=fix,
        )
