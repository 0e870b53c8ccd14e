"""Sliding windows of one source that are right for late, repeated and unordered events; pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from agents.threat_hunter.logic import BRUTE_FORCE_COUNT, BRUTE_FORCE_WINDOW

#: More than so many bytes to public addresses within an hour.
#: Source: the original's pattern of large transfers.
VOLUME_BYTES, VOLUME_WINDOW = 1_000_000, timedelta(hours=1)
#: How much later than newer ones an event may arrive.
LATENESS = timedelta(hours=6)
#: Events kept of one source: the newest.
KEPT = 1000


@dataclass(frozen=True, kw_only=True, order=True)
class Mark:
    """One event of a window: its time, an id that a repetition has, too, and its amount."""

    time: datetime
    id: str
    amount: int = 1


@dataclass(frozen=True, kw_only=True)
class Episode:
    """Consecutive events that exceed the limit, with no window between them that does not."""

    first: datetime
    last: datetime
    events: int
    amount: int


def merge(old: Iterable[Mark], new: Iterable[Mark], window: timedelta) -> tuple[Mark, ...]:
    """Return the marks to keep, ordered by time; the order of arrival does not matter.

    Those are the newest `KEPT`, no older than what the newest window and late events can need.
    """
    known = {(mark.time, mark.id): mark for mark in (*old, *new)}
    ordered = sorted(known.values())
    if not ordered:
        return ()
    oldest = ordered[-1].time - window - LATENESS
    return tuple(mark for mark in ordered[-KEPT:] if mark.time >= oldest)


def episodes(marks: Sequence[Mark], window: timedelta, limit: int) -> tuple[Episode, ...]:
    """Return the episodes in which the amounts within a window reach a limit."""
    hits: list[tuple[int, int]] = []  # first and last place of each window that reaches it
    start, total = 0, 0
    for end, mark in enumerate(marks):
        total += mark.amount
        while mark.time - marks[start].time > window:
            total -= marks[start].amount
            start += 1
        if total < limit:
            continue
        if hits and start <= hits[-1][1]:
            hits[-1] = (hits[-1][0], end)
        else:
            hits.append((start, end))
    return tuple(_episode(marks[first : last + 1]) for first, last in hits)


#: Window and the amount from which it is an attack, by rule. For any other rule one event is one.
LIMITS: dict[str, tuple[timedelta, int]] = {
    "failed_login_brute_force": (BRUTE_FORCE_WINDOW, BRUTE_FORCE_COUNT),
    "data_exfiltration_volume": (VOLUME_WINDOW, VOLUME_BYTES + 1),
}
SINGLE = (timedelta(hours=1), 1)


def _episode(marks: Sequence[Mark]) -> Episode:
    return Episode(
        first=marks[0].time,
        last=marks[-1].time,
        events=len(marks),
        amount=sum(mark.amount for mark in marks),
    )
