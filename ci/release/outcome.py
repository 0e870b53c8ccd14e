"""How a release ended: for people, for machines, and as the error that sets the exit code."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ci import errors
from ci.errors import AcsoError
from ci.release.model import ServiceRevision
from ci.release.observe.failures import TaskFailure
from ci.release.rollout.verdict import Cause


class OutcomeKind(StrEnum):
    """What became of a release."""

    NOTHING_TO_DO = "nothing_to_do"  # all is as wanted and works
    DEPLOYED = "deployed"
    RESTORED = "restored"  # rolled back by hand
    UNDONE = "undone"  # by hand, with no validated release to go to: the services are removed
    # Failed; everything runs again what it ran before. By us, for its own fault:
    ROLLED_BACK = "rolled_back"
    ROLLED_BACK_BY_ECS = "rolled_back_by_ecs"  # by ECS before us (circuit breaker, alarm)
    REPLACED = "replaced"  # somebody else deployed, scaled or deleted a service meanwhile
    TIMED_OUT = "timed_out"
    WITHDRAWN = "withdrawn"  # the user stopped it and wanted it undone
    REMOVED = "removed"  # a first release failed; its services are removed
    # Not as it was:
    ROLLBACK_FAILED = "rollback_failed"
    INTERRUPTED = "interrupted"  # the user stopped it; the next `deploy` goes on
    UNHEALTHY = "unhealthy"  # nothing to change, but what runs does not work


GOOD = frozenset(
    {OutcomeKind.NOTHING_TO_DO, OutcomeKind.DEPLOYED, OutcomeKind.RESTORED, OutcomeKind.UNDONE}
)
ERRORS: dict[OutcomeKind, type[AcsoError]] = {
    OutcomeKind.ROLLED_BACK: errors.ReleaseFailedError,
    OutcomeKind.ROLLED_BACK_BY_ECS: errors.RolledBackByEcsError,
    OutcomeKind.REPLACED: errors.ReplacedError,
    OutcomeKind.TIMED_OUT: errors.TimedOutError,
    OutcomeKind.WITHDRAWN: errors.WithdrawnError,
    OutcomeKind.REMOVED: errors.ReleaseFailedError,
    OutcomeKind.ROLLBACK_FAILED: errors.RollbackFailedError,
    OutcomeKind.INTERRUPTED: errors.InterruptedReleaseError,
    OutcomeKind.UNHEALTHY: errors.UnhealthyError,
}
#: What a release that failed for a cause is called. Of several causes the first here counts: what
#: broke by itself is the release's own fault, whatever else happened.
CAUSES = {
    Cause.BROKEN: OutcomeKind.ROLLED_BACK,
    Cause.ECS: OutcomeKind.ROLLED_BACK_BY_ECS,
    Cause.REPLACED: OutcomeKind.REPLACED,
    Cause.LATE: OutcomeKind.TIMED_OUT,
}


def outcome_kind(
    causes: Iterable[Cause], *, first: bool, stopped: bool, came_back: bool
) -> OutcomeKind:
    """Return how a release ended that did not succeed; pure.

    Args:
        causes: why its services failed; none if it failed otherwise (validation, AWS).
        first: nothing ran before it.
        stopped: its user stopped it.
        came_back: every service is again as it was before.
    """
    found = set(causes)
    if not came_back:
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
    """How a release ended; `back_on` is the release that runs (again) after a failure."""

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
        """Whether the environment runs, and answers as, what was asked for."""
        return self.kind in GOOD

    def summary(self) -> str:
        """Say in one line how it ended."""
        count = len(self.services)
        changed = sum(service.action not in ("none", "") for service in self.services)
        env, release = self.environment, self.release
        match self.kind:
            case OutcomeKind.NOTHING_TO_DO:
                return f"nothing changed: all {count} services of {env} run release {release}"
            case OutcomeKind.DEPLOYED:
                return f"release {release} is live in {env}: {changed} of {count} services rolled"
            case OutcomeKind.RESTORED:
                return f"{env} is back on release {self.back_on} (as release {release})"
            case OutcomeKind.UNDONE:
                return f"release {release} is undone: {env} has no services any more"
            case OutcomeKind.UNHEALTHY:
                return f"nothing to change in {env}, but it does not work: {self.why}"
            case _:  # its `why` says the rest, also where the user stopped it
                return f"release {release} failed in {env}: {self.why}"

    def text(self) -> str:
        """Return the whole outcome for people."""
        notes = [f"  {note}" for note in self.notes]
        return "\n".join([self.summary(), *notes, *self._table(), self._next()])

    def _next(self) -> str:
        """Return what may be of use from here on."""
        verbs = ("status", "logs", "rollback") if self.services else ("status", "deploy")
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
        """Raise the error of an ending that is none to be glad of, with reasons and next step."""
        if not self.ok:
            hint = f"./acso status --env {self.environment}"
            if self.kind is OutcomeKind.INTERRUPTED:
                env = f"--env {self.environment}"
                hint = f"./acso deploy {env} goes on; ./acso rollback {env} undoes it"
            raise ERRORS[self.kind](self._problem(), hint=hint)

    def left(self) -> str:
        """Say in a line or a few what a release that failed has left behind."""
        match self.kind:
            case OutcomeKind.ROLLBACK_FAILED:
                lines = [f"{s.agent}: {s.problem}" for s in self.services if s.problem]
                return "\n".join([f"and the way back failed too: {self.way_back}", *lines])
            case OutcomeKind.INTERRUPTED:
                return f"release {self.release} is recorded as interrupted"
            case OutcomeKind.UNHEALTHY:
                return "nothing was changed"
            case _ if not any(service.run for service in self.services):
                return "the services that this first release made are removed"
            case _:
                back = f"release {self.back_on} (validated)" if self.back_on else "what ran before"
                return f"all {len(self.services)} services are back on {back}"

    def _problem(self) -> str:
        lines = [self.why or "it failed"]
        lines += [failure.text() for failure in self.failures]
        lines += [f"  {line}" for line in self.left().splitlines()]
        return "\n".join(lines)

    def _table(self) -> list[str]:
        width = max((len(service.agent) for service in self.services), default=0)
        return [
            f"  {s.agent:<{width}}  {s.run.version if s.run else '-':<12}  "
            f"{s.run.digest[:19] if s.run else '-':<19}  {s.url}"
            for s in self.services
        ]
