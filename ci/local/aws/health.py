"""Health of targets and containers, computed from probe results and their times.

Both follow the same rules: one success makes a new target healthy, a number of failures in a row
makes it unhealthy, and failures in the start period do not count. Sources: ELB User Guide, "Health
checks for target groups" ("it must pass one health check to be considered healthy"); ECS API
Reference, HealthCheck (interval, retries, startPeriod).
"""

from dataclasses import dataclass
from typing import Literal

State = Literal["initial", "healthy", "unhealthy"]
#: Seconds between the first probes. AWS waits a whole interval. Probing sooner finds a healthy
#: target sooner; none becomes unhealthy sooner, because failures are counted by their duration.
FIRST_INTERVAL = 0.2
BACKOFF = 1.4  # factor by which the pause between the first probes grows, up to the interval


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How often to probe, and how many results make a state."""

    interval: float  # seconds
    failures: int  # in a row, that make it unhealthy
    successes: int = 1  # in a row, that make an unhealthy one healthy again
    grace: float = 0.0  # seconds after the start in which failures do not count


@dataclass(kw_only=True)
class Health:
    """The state of one target or container since it was first seen (monotonic seconds)."""

    rule: Rule
    since: float
    state: State = "initial"
    reason: str = ""  # of the last failure
    _failing_since: float | None = None
    _passed: int = 0
    _next: float = 0.0
    _pause: float = FIRST_INTERVAL

    def due(self, now: float) -> bool:
        """Return whether it is time for a probe."""
        return now >= self._next

    def passed(self, now: float) -> None:
        """Record a successful probe."""
        self._passed += 1
        self._failing_since = None
        if self.state == "initial" or self._passed >= self.rule.successes:
            self.state = "healthy"
        self._next = now + self.rule.interval

    def failed(self, now: float, reason: str) -> None:
        """Record a failed probe and its reason."""
        self._passed, self.reason = 0, reason
        self._failing_since = now if self._failing_since is None else self._failing_since
        if now >= self._limit():
            self.state = "unhealthy"
        if self.state == "initial":
            self._next = now + min(self._pause, self.rule.interval)
            self._pause *= BACKOFF
        else:
            self._next = now + self.rule.interval

    def _limit(self) -> float:
        """Return the time from which a failure makes it unhealthy."""
        rule = self.rule
        if self.state == "initial":
            return self.since + rule.grace + rule.interval * rule.failures
        return (self._failing_since or 0.0) + rule.interval * (rule.failures - 1)


def matches(matcher: str, code: int) -> bool:
    """Return whether an HTTP status matches a target group's "200", "200,202" or "200-299"."""
    for part in matcher.split(","):
        low, _, high = part.strip().partition("-")
        if low.isdigit() and int(low) <= code <= int(high or low):
            return True
    return False
