"""Anomalies and forecasts of daily costs by robust statistics; pure.

An anomaly is a day whose modified z-score against the 28 days before it exceeds 4.5, and that
differs from their median by at least one unit of currency and a tenth. The modified z-score is
0.6745 * (x - median) / MAD. Source: Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993),
who recommend 3.5 where median and MAD are those of all data. Here they are those of 28 days or
fewer, without the unusual ones; fewer than 1 in 200 days of normally distributed costs exceed 4.5
(tested).

The forecast is a line through the last 56 days: the median of the slopes of all pairs (Theil and
Sen), and an interval that is the spread of the residuals. Single peaks change neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from statistics import median

#: Days that a day is compared with, and those that are needed for it.
BASELINE, ENOUGH = 28, 14
THRESHOLD = 4.5
#: Smallest difference that counts: an amount, and a share of the median.
LEAST, LEAST_SHARE = 1.0, 0.1
#: Days that a forecast is made from, and those that are needed for it.
HISTORY, HISTORY_ENOUGH = 56, 14
#: The standard deviation of normally distributed data over its MAD; its 97.5th percentile.
_SIGMA, _PERCENTILE = 1.4826, 1.96
METHOD = "modified z-score over 4.5 against the 28 days before; fewer than 1 in 200 false positives"


@dataclass(frozen=True, kw_only=True)
class Anomaly:
    """A day whose cost is unusual; `score` is None if the days before cost all the same."""

    day: int  # its place in the series
    cost: float
    expected: float
    score: float | None


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The expected total of coming days, and an interval that contains it in 95 of 100 cases."""

    days: int
    total: float
    low: float
    high: float


def anomalies(series: Sequence[float]) -> tuple[Anomaly, ...]:
    """Return the unusual days of a series of daily costs."""
    found: list[Anomaly] = []
    unusual: set[int] = set()
    for day, cost in enumerate(series):
        # Unusual days are no measure for the days after them.
        before = [
            series[place] for place in range(max(0, day - BASELINE), day) if place not in unusual
        ]
        anomaly = _tested(day, cost, before) if len(before) >= ENOUGH else None
        if anomaly is not None:
            found.append(anomaly)
            unusual.add(day)
    return tuple(found)


def forecast(series: Sequence[float], days: int) -> Forecast | None:
    """Return the forecast of the total of coming days; None if there are too few days before."""
    history = list(series[-HISTORY:])
    count = len(history)
    if count < HISTORY_ENOUGH:
        return None
    slope = median((history[b] - history[a]) / (b - a) for a, b in combinations(range(count), 2))
    middle = median(value - slope * place for place, value in enumerate(history))
    residuals = [value - middle - slope * place for place, value in enumerate(history)]
    sigma = _SIGMA * median(abs(residual) for residual in residuals)
    total = sum(middle + slope * place for place in range(count, count + days))
    spread = _PERCENTILE * sigma * sqrt(_variance(count, days))
    return Forecast(
        days=days,
        total=round(max(0.0, total), 2),
        low=round(max(0.0, total - spread), 2),
        high=round(max(0.0, total + spread), 2),
    )


def _variance(count: int, days: int) -> float:
    """Return the variance of the total of coming days, in units of one day's.

    It is that of the days themselves, and that of the line through the days before.
    """
    centre = (count - 1) / 2
    squares = sum((place - centre) ** 2 for place in range(count))
    distance = sum(place - centre for place in range(count, count + days))
    # Theil and Sen's line varies a little more than the one of least squares, by about a tenth;
    # sigma by MAD varies, too. Both are covered by a fifth more.
    return 1.44 * (days + days**2 / count + distance**2 / squares)


def _tested(day: int, cost: float, before: Sequence[float]) -> Anomaly | None:
    expected = median(before)
    spread = median(abs(value - expected) for value in before)
    difference = abs(cost - expected)
    if difference < max(LEAST, LEAST_SHARE * abs(expected)):
        return None
    score = None if spread == 0 else 0.6745 * (cost - expected) / spread
    if score is not None and abs(score) <= THRESHOLD:
        return None
    return Anomaly(
        day=day,
        cost=round(cost, 2),
        expected=round(expected, 2),
        score=None if score is None else round(score, 1),
    )
