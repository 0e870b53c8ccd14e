"""What was measured of one agent: small enough to be kept with the record of its release."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

#: Points of a kept distribution of response times.
POINTS = 200
#: Bytes of what is kept of a release, at most. Source: DynamoDB Developer Guide, "Quotas": 400 KB.
BYTES = 300_000


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """Response times of one agent under load, in milliseconds.

    Attributes:
        answered: how many requests were answered well.
        errors: how many were not.
        points: response times in ascending order, evenly spread over all: each of them, or fewer.
        memory: MiB that a task used, mean of the run; None if nobody said it.
    """

    answered: int
    errors: int
    points: tuple[float, ...]
    memory: float | None = None

    @property
    def requests(self) -> int:
        """How many requests there were."""
        return self.answered + self.errors

    @property
    def error_rate(self) -> float:
        """Errors in percent of the requests."""
        return 100 * self.errors / self.requests if self.requests else 0.0

    def at(self, share: float) -> float:
        """Return the response time that a share of the responses (0 to 1) do not exceed."""
        position = share * len(self.points) - 0.5
        low = min(max(math.floor(position), 0), len(self.points) - 1)
        high = min(low + 1, len(self.points) - 1)
        part = min(max(position - low, 0.0), 1.0)
        return self.points[low] * (1 - part) + self.points[high] * part

    def reduced(self, points: int = POINTS) -> "Distribution":
        """Return the same with fewer points."""
        if len(self.points) <= points:
            return self
        kept = tuple(round(self.at((n + 0.5) / points), 2) for n in range(points))
        return replace(self, points=kept)

    def text(self) -> str:
        """Return it as a line."""
        if not self.points:
            return f"no response, {self.errors} errors"
        times = ", ".join(f"p{q} {self.at(q / 100):.1f} ms" for q in (50, 95, 99))
        memory = "" if self.memory is None else f", {self.memory:.0f} MiB"
        return f"{times}, {self.error_rate:.2g} % errors of {self.requests}{memory}"


def measured(seconds: Sequence[float], errors: int, memory: float | None = None) -> Distribution:
    """Return the distribution of response times."""
    points = tuple(sorted(1000 * item for item in seconds))
    return Distribution(answered=len(points), errors=errors, points=points, memory=memory)


def body(agents: Mapping[str, Distribution]) -> dict[str, Any]:
    """Return what is kept of a release, whatever the number of agents: it fits into one item."""
    points = POINTS
    while True:
        found = {name: vars(item.reduced(points)) for name, item in agents.items()}
        if points == 1 or len(json.dumps(found)) <= BYTES:
            return found
        points = max(1, points // 2)


def parsed(data: Mapping[str, Any]) -> dict[str, Distribution]:
    """Return the distributions that `body` returned, by agent."""
    return {
        name: Distribution(**{**fields, "points": tuple(fields["points"])})
        for name, fields in data.items()
    }
