"""A limit on the requests of each caller, in this process: copies of an agent add theirs up."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

#: Requests a second of one caller in the long run, and at once.
RATE, BURST = 100.0, 200.0


@dataclass(kw_only=True)
class Rates:
    """A bucket of requests for each caller; callers are known, so there are few."""

    rate: float = RATE
    burst: float = BURST
    monotonic: Callable[[], float] = time.monotonic
    _buckets: dict[str, tuple[float, float]] = field(default_factory=dict)

    def wait(self, caller: str) -> float:
        """Count a request; return 0, or the seconds after which it would be allowed."""
        now = self.monotonic()
        left, then = self._buckets.get(caller, (self.burst, now))
        left = min(self.burst, left + (now - then) * self.rate)
        allowed = left >= 1
        self._buckets[caller] = (left - 1 if allowed else left, now)
        return 0.0 if allowed else (1 - left) / self.rate
