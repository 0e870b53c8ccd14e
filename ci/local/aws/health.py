"""When something that is probed counts as healthy: pure functions of what was seen and when.

Load balancers and containers share the rules: one success makes a new one healthy, a number of
failures in a row makes it unhealthy, and a start period forgives. Sources: ELB User Guide, "Health
checks for target groups" ("it must pass one health check to be considered healthy"); ECS API
Reference, HealthCheck (interval, retries, startPeriod).
"""

from dataclasses import dataclass
from typing import Literal

State = Literal["initial", "healthy", "unhealthy"]
#: Seconds between the first probes. AWS waits a whole interval; looking sooner finds the same
#: state sooner, and failures are counted by time, so nothing is judged unhealthy any earlier.
FIRST = 0.2
SLOWER = 1.4  # each next one of those is rarer, until the interval is reached


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How often to look, and what counts."""

    interval: float  # seconds
    failures: int  # in a row, that make it unhealthy
    successes: int = 1  # in a row, that make an unhealthy one healthy again
    grace: float = 0.0  # seconds from its start in which failures do not count


@dataclass(kw_only=True)
class Health:
    """The state of one target or container since it was first seen (monotonic seconds)."""

    rule: Rule
    since: float
    state: State = "initial"
    said: str = ""  # by the last probe that failed
    _failing: float | None = None  # since when
    _passed: int = 0
    _next: float = 0.0
    _pause: float = FIRST

    def due(self, now: float) -> bool:
        """Whether it is time to look."""
        return now >= self._next

    def passed(self, now: float) -> None:
        """Take note of a success."""
        self._passed += 1
        self._failing = None
        if self.state == "initial" or self._passed >= self.rule.successes:
            self.state = "healthy"
        self._next = now + self.rule.interval

    def failed(self, now: float, said: str) -> None:
        """Take note of a failure and of what was seen."""
        self._passed, self.said = 0, said
        self._failing = now if self._failing is None else self._failing
        if now >= self._limit():
            self.state = "unhealthy"
        if self.state == "initial":
            self._next = now + min(self._pause, self.rule.interval)
            self._pause *= SLOWER
        else:
            self._next = now + self.rule.interval

    def _limit(self) -> float:
        """Return from when on a failure makes it unhealthy."""
        rule = self.rule
        if self.state == "initial":
            return self.since + rule.grace + rule.interval * rule.failures
        return (self._failing or 0.0) + rule.interval * (rule.failures - 1)


def matches(matcher: str, code: int) -> bool:
    """Whether an HTTP status is one of a target group's: "200", "200,202" or "200-299"."""
    for part in matcher.split(","):
        low, _, high = part.strip().partition("-")
        if low.isdigit() and int(low) <= code <= int(high or low):
            return True
    return False
