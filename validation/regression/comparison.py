"""Whether an agent answers worse than before: a change is one if its whole interval says so.

Each change has a bootstrap interval. One that begins beyond the noise is a regression; one that is
merely unlikely by chance is none. The more is compared, the wider the intervals are (Bonferroni),
so that a whole run has the stated rate of false alarms.

The standard library is enough: a quantile of a bootstrap sample is one of its order statistics,
whose rank has a beta distribution, so a resample takes one random number and no array of numpy.
"""

import math
import random
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from validation.regression.distribution import Distribution

#: Quantiles that are compared; of the 99th, a minute of load has too few responses.
QUANTILES = (0.5, 0.95)
RESAMPLES = 10_000
#: Percentage points of errors that are noise.
ERROR_NOISE = 0.1
ERRORS = "% errors"  # a unit
#: Standard deviations by which a change must exceed the limit to be found in four of five runs.
POWER = 0.84
SEED = 20_261_126


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What counts as a regression: percents of noise, and of runs with a false alarm."""

    noise: float
    false_alarms: float
    resamples: int = RESAMPLES


@dataclass(frozen=True, kw_only=True)
class Change:
    """One compared figure: before, after, and the interval of the change.

    Changes of response times and memory are in percent, those of error rates in percentage points.
    `smallest` is the smallest change that four of five such runs would find; None where no interval
    is known.
    """

    what: str
    before: float
    after: float
    unit: str
    change: float
    low: float
    high: float
    noise: float
    smallest: float | None = None

    @property
    def worse(self) -> bool:
        """Whether it is a regression."""
        return self.low > self.noise

    @property
    def sign(self) -> str:
        """What follows a change as a number."""
        return " points" if self.unit == ERRORS else " %"

    def text(self) -> str:
        """Return it as part of a sentence."""
        unit = self.sign
        between = f" ({self.low:+.1f} to {self.high:+.1f}{unit})" if self.low < self.high else ""
        return (
            f"{self.what} {self.before:.3g} -> {self.after:.3g} {self.unit}, "
            f"{self.change:+.1f}{unit}{between}"
        )


Pairs = Mapping[str, tuple[Distribution, Distribution]]


def latencies(pairs: Pairs, rule: Rule) -> list[Change]:
    """Compare response times of agents, before and after, at each quantile."""
    sampling = _sampling(rule, len(pairs) * len(QUANTILES))
    return [
        _latency(f"{agent} p{100 * share:g}", old, new, share, sampling)
        for agent, (old, new) in pairs.items()
        for share in QUANTILES
        if old.points and new.points
    ]


def errors(pairs: Pairs, rule: Rule) -> list[Change]:
    """Compare error rates of agents, before and after."""
    sampling = _sampling(rule, len(pairs))
    return [_errors(agent, old, new, sampling) for agent, (old, new) in pairs.items()]


def memory(pairs: Pairs, rule: Rule) -> list[Change]:
    """Compare the memory of agents' tasks; one task each, so no interval is known."""
    found = []
    for agent, (old, new) in pairs.items():
        if old.memory and new.memory:
            change = 100 * (new.memory / old.memory - 1)
            found.append(
                Change(
                    what=agent,
                    before=old.memory,
                    after=new.memory,
                    unit="MiB",
                    change=change,
                    low=change,
                    high=change,
                    noise=rule.noise,
                )
            )
    return found


@dataclass(frozen=True)
class Sampling:
    """How intervals are made: `percent` of them lie beside the truth."""

    rule: Rule
    percent: float
    source: random.Random

    def interval(self, draw: Callable[[], float]) -> tuple[float, float, float]:
        """Return both ends of a statistic's interval, and its standard deviation."""
        drawn = sorted(draw() for _ in range(self.rule.resamples))
        tail = self.percent / 200
        low = max(0, math.floor(tail * len(drawn)) - 1)
        return drawn[low], drawn[len(drawn) - 1 - low], statistics.pstdev(drawn)


def _sampling(rule: Rule, compared: int) -> Sampling:
    source = random.Random(SEED)  # noqa: S311 (nothing secret)
    return Sampling(rule, rule.false_alarms / max(1, compared), source)


def _latency(
    what: str, old: Distribution, new: Distribution, share: float, sampling: Sampling
) -> Change:
    beta = sampling.source.betavariate

    def draw() -> float:
        after, before = (_resampled(item, share, beta) for item in (new, old))
        return math.log(after / before)

    low, high, deviation = sampling.interval(draw)
    noise = sampling.rule.noise
    limit = math.log1p(noise / 100)
    middle = math.log(new.at(share) / old.at(share))
    return Change(
        what=what,
        before=old.at(share),
        after=new.at(share),
        unit="ms",
        change=_percent(middle),
        low=_percent(low),
        high=_percent(high),
        noise=noise,
        smallest=_percent(limit + (high - low) / 2 + POWER * deviation),
    )


def _resampled(item: Distribution, share: float, beta: Callable[[float, float], float]) -> float:
    """Return a quantile of a bootstrap sample of the responses."""
    rank = max(1, math.ceil(share * item.answered))
    return max(item.at(beta(rank, item.answered - rank + 1)), 1e-6)


def _errors(agent: str, old: Distribution, new: Distribution, sampling: Sampling) -> Change:
    def draw() -> float:
        after, before = (_rate(item, sampling.source) for item in (new, old))
        return 100 * (after - before)

    low, high, deviation = sampling.interval(draw)
    return Change(
        what=agent,
        before=old.error_rate,
        after=new.error_rate,
        unit=ERRORS,
        change=new.error_rate - old.error_rate,
        low=low,
        high=high,
        noise=ERROR_NOISE,
        smallest=ERROR_NOISE + (high - low) / 2 + POWER * deviation,
    )


def _rate(item: Distribution, source: random.Random) -> float:
    """Return a possible rate of errors, also where none was seen (Jeffreys' prior)."""
    return source.betavariate(item.errors + 0.5, item.answered + 0.5)


def _percent(log_ratio: float) -> float:
    return 100 * math.expm1(log_ratio)
