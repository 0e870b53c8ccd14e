"""Findings of `verify`: each problem with its resource, the missing permission, and the fix."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ci.errors import VerifyError


class Status(StrEnum):
    """Result of a check. ERROR means that it could not be run, and never counts as a pass."""

    PASS = "PASS"  # noqa: S105 (no password)
    FAIL = "FAIL"
    SKIP = "SKIP"
    ERROR = "ERROR"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check; `action` is the missing permission, `fix` what to do."""

    status: Status
    what: str
    message: str
    resource: str = ""
    action: str = ""  # as IAM names it, such as ecr:BatchGetImage
    fix: str = ""

    @property
    def bad(self) -> bool:
        """Whether it prevents a release."""
        return self.status in (Status.FAIL, Status.ERROR)

    def lines(self, width: int) -> list[str]:
        """Return the finding for people; a problem with resource, permission and fix."""
        head = f"  {self.status:<5}  {self.what:<{width}}  {self.message}".rstrip()
        if not self.bad:
            return [head]
        more = {"resource": self.resource, "missing permission": self.action, "fix": self.fix}
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
        """The findings that prevent a release."""
        return tuple(item for item in self.findings if item.bad)

    @property
    def ok(self) -> bool:
        """Whether every check could be run and nothing is wrong."""
        passed = any(item.status is Status.PASS for item in self.findings)
        return passed and not self.problems

    def summary(self) -> str:
        """Return in one line how many checks passed, failed, and could not be run."""
        counts = dict.fromkeys(Status, 0)
        for item in self.findings:
            counts[item.status] += 1
        message = {
            Status.FAIL: "failed",
            Status.ERROR: "could not be checked",
            Status.SKIP: "skipped",
        }
        rest = [f"{counts[status]} {word}" for status, word in message.items() if counts[status]]
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
            hint = f"nothing was changed; check again: ./acso verify --env {self.environment}"
            raise VerifyError(self._text(self.problems), hint=hint, details=self.data())

    def _text(self, findings: tuple[Finding, ...]) -> str:
        width = max((len(item.what) for item in findings), default=0)
        head = f"{self.environment}: {self.summary()}"
        return "\n".join([head, *(line for item in findings for line in item.lines(width))])


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a check is about: a short description, and the name or ARN of the resource."""

    what: str
    resource: str

    def passed(self, message: str) -> Finding:
        """Return a PASS, with what was observed."""
        return self._finding(Status.PASS, message)

    def failed(self, message: str, fix: str, *, action: str = "") -> Finding:
        """Return a FAIL: what is wrong, and what to do."""
        return self._finding(Status.FAIL, message, action=action, fix=fix)

    def skipped(self, why: str) -> Finding:
        """Return a SKIP: why there is nothing to check."""
        return self._finding(Status.SKIP, why)

    def error(self, why: str, fix: str = "", *, action: str = "") -> Finding:
        """Return an ERROR: why it could not be checked."""
        return self._finding(Status.ERROR, why, action=action, fix=fix)

    def _finding(self, status: Status, message: str, *, action: str = "", fix: str = "") -> Finding:
        return Finding(
            status=status,
            what=self.what,
            message=message,
            resource=self.resource,
            action=action,
            fix=fix,
        )
