"""How a release ended: as text, as JSON, and as the error that sets the exit code."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ci import errors
from ci.common import tables
from ci.errors import AcsoError
from ci.release.model import ServiceRevision
from ci.release.observe.failures import TaskFailure
from ci.release.rollout.verdict import FailureCause


class OutcomeKind(StrEnum):
    """How a release ended."""

    NOTHING_TO_DO = "nothing_to_do"  # every service is up to date and healthy
    DEPLOYED = "deployed"
    RESTORED = "restored"  # `rollback` returned to a validated release
    UNDONE = "undone"  # `rollback` without a validated release: the services are removed
    # Failed, and every service runs again what it ran before:
    ROLLED_BACK = "rolled_back"  # the release itself failed
    ROLLED_BACK_BY_ECS = "rolled_back_by_ecs"  # ECS was first (circuit breaker, alarm)
    REPLACED = "replaced"  # somebody else deployed, scaled or deleted a service meanwhile
    TIMED_OUT = "timed_out"
    NOT_EXAMINED = "not_examined"  # whether it works could not be looked at
    WITHDRAWN = "withdrawn"  # the user interrupted it and asked for a rollback
    REMOVED = "removed"  # a first release failed; its services are removed
    # Failed, and services may differ from what ran before:
    ROLLBACK_FAILED = "rollback_failed"
    INTERRUPTED = "interrupted"  # the user interrupted it; the next `deploy` resumes
    UNHEALTHY = "unhealthy"  # nothing was to be changed, but the services do not work
    UNCHECKED = "unchecked"  # nothing was to be changed, and nobody could look at the services


HEADS = ("agent", "version", "digest", "at")
SUCCESSES = frozenset(
    {OutcomeKind.NOTHING_TO_DO, OutcomeKind.DEPLOYED, OutcomeKind.RESTORED, OutcomeKind.UNDONE}
)
ERRORS: dict[OutcomeKind, type[AcsoError]] = {
    OutcomeKind.ROLLED_BACK: errors.ReleaseFailedError,
    OutcomeKind.ROLLED_BACK_BY_ECS: errors.RolledBackByEcsError,
    OutcomeKind.REPLACED: errors.ReplacedError,
    OutcomeKind.TIMED_OUT: errors.TimedOutError,
    OutcomeKind.NOT_EXAMINED: errors.ProbeError,
    OutcomeKind.WITHDRAWN: errors.WithdrawnError,
    OutcomeKind.REMOVED: errors.ReleaseFailedError,
    OutcomeKind.ROLLBACK_FAILED: errors.RollbackFailedError,
    OutcomeKind.INTERRUPTED: errors.InterruptedReleaseError,
    OutcomeKind.UNHEALTHY: errors.UnhealthyError,
    OutcomeKind.UNCHECKED: errors.ProbeError,
}
#: The outcome for each cause of failure. Of several causes the first in this order decides:
#: a failure of the release itself outweighs whatever else happened.
CAUSES = {
    FailureCause.BROKEN: OutcomeKind.ROLLED_BACK,
    FailureCause.ECS: OutcomeKind.ROLLED_BACK_BY_ECS,
    FailureCause.REPLACED: OutcomeKind.REPLACED,
    FailureCause.TIMEOUT: OutcomeKind.TIMED_OUT,
    FailureCause.NOT_EXAMINED: OutcomeKind.NOT_EXAMINED,
}


def outcome_kind(
    causes: Iterable[FailureCause], *, first: bool, stopped: bool, restored: bool
) -> OutcomeKind:
    """Return the outcome of a release that did not succeed; pure.

    Args:
        causes: why its services failed; empty if it failed otherwise (validation, AWS).
        first: nothing ran before it.
        stopped: the user interrupted it.
        restored: every service runs again what it ran before.
    """
    found = set(causes)
    if not restored:
        return OutcomeKind.ROLLBACK_FAILED
    if stopped:
        return OutcomeKind.WITHDRAWN
    if first:
        return OutcomeKind.REMOVED
    return next((CAUSES[cause] for cause in CAUSES if cause in found), OutcomeKind.ROLLED_BACK)


@dataclass(frozen=True, kw_only=True)
class ServiceResult:
    """One service at the end of a release."""

    agent: str
    service: str
    action: str
    url: str
    run: ServiceRevision | None
    problem: str = ""

    def data(self) -> dict[str, Any]:
        """Return the service for machines."""
        return {
            "agent": self.agent,
            "service": self.service,
            "action": self.action,
            "url": self.url,
            "version": self.run.version if self.run else None,
            "digest": self.run.digest if self.run else None,
            "revision": self.run.revision if self.run else None,
            "desired": self.run.desired if self.run else 0,
            "problem": self.problem,
        }


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a release ended.

    `back_on` is the release that runs (again) after a failure, `way_back` why the rollback failed.
    """

    kind: OutcomeKind
    environment: str
    release: str
    services: tuple[ServiceResult, ...]
    seconds: float
    why: str = ""
    failures: tuple[TaskFailure, ...] = ()
    back_on: str = ""
    way_back: str = ""
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the environment runs what was asked for, and is healthy."""
        return self.kind in SUCCESSES

    def summary(self) -> str:
        """Describe in one line how it ended."""
        count = len(self.services)
        changed = sum(service.action not in ("none", "") for service in self.services)
        env, release = self.environment, self.release
        match self.kind:
            case OutcomeKind.NOTHING_TO_DO:
                return f"nothing changed: all {count} services of {env} run release {release}"
            case OutcomeKind.DEPLOYED:
                return f"release {release} is live in {env}: {changed} of {count} services rolled"
            case OutcomeKind.RESTORED:
                moved = f"{changed} of {count} services moved"
                return f"{env} is back on release {self.back_on} (as release {release}): {moved}"
            case OutcomeKind.UNDONE:
                return f"release {release} is undone: {env} has no services left"
            case OutcomeKind.UNHEALTHY | OutcomeKind.UNCHECKED:
                unhealthy = self.kind is OutcomeKind.UNHEALTHY
                what = "is unhealthy" if unhealthy else "could not be looked at"
                return f"nothing to change in {env}, but it {what}: {self.why}"
            case _:
                return f"release {release} failed in {env}: {self.why}"

    def text(self) -> str:
        """Return the whole outcome for people."""
        notes = [f"  {note}" for note in self.notes]
        return "\n".join([self.summary(), *notes, *self._table(), self._next()])

    def _next(self) -> str:
        """Return the commands that may be useful next."""
        verbs = ["status", "logs"] if self.services else ["status", "deploy"]
        # Before the first release there is nothing to roll back to.
        verbs += ["rollback"] * (self.kind is OutcomeKind.DEPLOYED and bool(self.back_on))
        return "next: " + "; ".join(f"./acso {verb} --env {self.environment}" for verb in verbs)

    def data(self) -> dict[str, Any]:
        """Return the whole outcome for machines."""
        return {
            "outcome": str(self.kind),
            "ok": self.ok,
            "environment": self.environment,
            "release": self.release,
            "seconds": round(self.seconds, 3),
            "services": [service.data() for service in self.services],
            "why": self.why,
            "failures": [failure.data() for failure in self.failures],
            "back_on": self.back_on,
            "way_back": self.way_back,
            "notes": list(self.notes),
        }

    def raise_for_failure(self) -> None:
        """Raise the error of an outcome that is no success, with reasons and the next command."""
        if not self.ok:
            env = f"--env {self.environment}"
            hint = f"./acso status {env}"
            if self.kind is OutcomeKind.INTERRUPTED:
                hint = f"./acso deploy {env} resumes it; ./acso rollback {env} undoes it"
            elif self.kind is OutcomeKind.ROLLBACK_FAILED:
                to = f"release {self.back_on}" if self.back_on else "what ran before"
                hint = f"./acso rollback {env} returns to {to}; ./acso status {env}"
            raise ERRORS[self.kind](self._problem(), hint=hint, details=self.data())

    def remaining_state(self) -> str:
        """Describe in a few lines what runs after a release that failed."""
        match self.kind:
            case OutcomeKind.ROLLBACK_FAILED:
                lines = [f"{s.agent}: {s.problem}" for s in self.services if s.problem]
                return "\n".join([f"the rollback failed too: {self.way_back}", *lines])
            case OutcomeKind.INTERRUPTED:
                return f"release {self.release} is recorded as interrupted"
            case OutcomeKind.UNHEALTHY | OutcomeKind.UNCHECKED:
                return "nothing was changed"
            case _ if not any(service.run for service in self.services):
                return "the services that this first release created are removed"
            case _:
                back = f"release {self.back_on} (validated)" if self.back_on else "what ran before"
                return f"all {len(self.services)} services are back on {back}"

    def _problem(self) -> str:
        lines = [self.why or "the release failed"]
        lines += [failure.text() for failure in self.failures]
        lines += [f"  {line}" for line in self.remaining_state().splitlines()]
        return "\n".join(lines)

    def _table(self) -> list[str]:
        rows = [
            (s.agent, s.run.version if s.run else "-", s.run.digest[:19] if s.run else "-", s.url)
            for s in self.services
        ]
        width = tables.terminal_width()
        return tables.table(HEADS, rows, width=width, indent="  ", header=False)
