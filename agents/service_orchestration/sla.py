"""SLA clocks: deadlines in business hours of the client's time zone, or around the clock; pure."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from agents.service_orchestration.logic import Level, Priority

Clock = Literal["first_response", "resolution"]
#: Business hours, Monday to Friday, in the client's zone.
OPENS, CLOSES = time(8), time(18)


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """When the clocks of a ticket run out, in UTC."""

    first_response: datetime
    resolution: datetime


def around_the_clock(level: Level, priority: Priority) -> bool:
    """Return whether clocks also run outside business hours: platinum always, critical always."""
    return level == "platinum" or priority == "critical"


def add(start: datetime, length: timedelta, zone: ZoneInfo) -> datetime:
    """Return the time, in UTC, at which so much time in business hours has passed.

    Changes of daylight saving time count as they happen: an hour of work is an hour.
    """
    left = length
    day = start.astimezone(zone).date()
    while True:
        opens, closes = _hours(day, zone)
        begin = max(start, opens)
        if _is_business_day(day) and begin < closes:
            if left <= closes - begin:
                return begin + left
            left -= closes - begin
        day += timedelta(days=1)


def elapsed(start: datetime, end: datetime, zone: ZoneInfo) -> timedelta:
    """Return how much time in business hours lies between two times."""
    total = timedelta()
    day = start.astimezone(zone).date()
    while day <= end.astimezone(zone).date():
        opens, closes = _hours(day, zone)
        if _is_business_day(day):
            total += max(timedelta(), min(end, closes) - max(start, opens))
        day += timedelta(days=1)
    return total


def due(start: datetime, length: timedelta, zone: ZoneInfo, *, always: bool) -> datetime:
    """Return the time, in UTC, at which a clock runs out."""
    utc = start.astimezone(UTC)
    return utc + length if always else add(utc, length, zone)


def _hours(day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return when a day's business hours begin and end, in UTC."""
    return (
        datetime.combine(day, OPENS, zone).astimezone(UTC),
        datetime.combine(day, CLOSES, zone).astimezone(UTC),
    )


def _is_business_day(day: date) -> bool:
    return day.weekday() < 5
