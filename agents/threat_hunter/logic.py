"""Find threats in log entries, by rules for the entries of each source address."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address
from itertools import groupby
from typing import Literal

Severity = Literal["info", "low", "medium", "high", "critical"]
Kind = Literal["rule", "pattern", "anomaly"]
Threat = Literal[
    "intrusion",
    "suspicious_activity",
    "data_exfiltration",
    "privilege_escalation",
    "policy_violation",
    "anomalous_behavior",
]

#: Brute force: so many failed logins of one source within a time window.
BRUTE_FORCE_COUNT = 5
BRUTE_FORCE_WINDOW = timedelta(seconds=300)
#: Exfiltration: more than 10 MB in one entry to a public address.
EXFILTRATION_BYTES = 10_000_000
#: Working hours (UTC), the last one included.
FIRST_HOUR, LAST_HOUR = 8, 18

_ESCALATIONS = frozenset({"attachuserpolicy", "putuserpolicy", "createrole"})
_ACCESSES = frozenset({"getobject", "listobjects", "downloadfile"})


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The fields of a log entry that the rules use; `time` has a zone."""

    event: str
    source: str
    time: datetime
    error: str | None = None
    sent: int = 0  # bytes
    destination: str | None = None

    @property
    def failed_login(self) -> bool:
        """Whether it is a failed login."""
        name = self.event.lower()
        login = "login" in name or "signin" in name or name == "authentication_failure"
        return login and (self.error is not None or name == "authentication_failure")


@dataclass(frozen=True, kw_only=True)
class Indicator:
    """One sign of a threat; `weight` is its score from 0 to 10 if it is the only one."""

    name: str
    kind: Kind
    threat: Threat
    weight: int


@dataclass(frozen=True, kw_only=True)
class Finding:
    """All signs of one source, combined."""

    source: str
    threat: Threat  # of the strongest sign
    severity: Severity
    score: int  # 0 to 10
    confidence: float  # 0 to 1
    indicators: tuple[str, ...]  # strongest first
    entries: int
    first: datetime
    last: datetime


def analyze(entries: Sequence[Entry], bad_sources: frozenset[str]) -> tuple[Finding, ...]:
    """Return one finding for each source with at least one sign, the most severe first.

    The order of the entries does not matter. `bad_sources` are addresses of known attackers.
    """
    ordered = sorted(entries, key=lambda entry: (entry.source, entry.time))
    groups = [tuple(group) for _, group in groupby(ordered, key=lambda entry: entry.source)]
    findings = [_finding(group, found) for group in groups if (found := signs(group, bad_sources))]
    return tuple(sorted(findings, key=lambda finding: (-finding.score, finding.source)))


def signs(entries: Sequence[Entry], bad_sources: frozenset[str]) -> tuple[Indicator, ...]:
    """Return the signs in one source's entries (ordered by time), the strongest first."""
    found = [
        indicator
        for indicator, holds in _SIGNS
        if any(holds(entry, bad_sources) for entry in entries)
    ]
    if _brute_force([entry.time for entry in entries if entry.failed_login]):
        found.append(_BRUTE_FORCE)
    return tuple(sorted(found, key=lambda indicator: -indicator.weight))


def score(indicators: Sequence[Indicator]) -> int:
    """Return the score, 0 to 10: the strongest sign's weight, plus one for each further sign."""
    if not indicators:
        return 0
    return min(10, max(indicator.weight for indicator in indicators) + len(indicators) - 1)


def severity(points: int) -> Severity:
    """Return the severity of a score: 8 critical, 6 high, 4 medium, 2 low."""
    steps: tuple[tuple[int, Severity], ...] = (
        (8, "critical"),
        (6, "high"),
        (4, "medium"),
        (2, "low"),
    )
    return next((name for least, name in steps if points >= least), "info")


def confidence(indicators: Sequence[Indicator]) -> float:
    """Return the confidence in a finding, 0.5 to 1.

    It starts at 0.5. A rule adds 0.2, a pattern 0.1, an anomaly 0.1, and more than one sign 0.2,
    because they confirm each other. Computed in tenths to avoid rounding.
    """
    kinds = {indicator.kind for indicator in indicators}
    tenths = 5 + 2 * ("rule" in kinds) + ("pattern" in kinds) + ("anomaly" in kinds)
    return min(10, tenths + 2 * (len(indicators) > 1)) / 10


def _finding(entries: Sequence[Entry], found: Sequence[Indicator]) -> Finding:
    points = score(found)
    return Finding(
        source=entries[0].source,
        threat=found[0].threat,
        severity=severity(points),
        score=points,
        confidence=confidence(found),
        indicators=tuple(indicator.name for indicator in found),
        entries=len(entries),
        first=entries[0].time,
        last=entries[-1].time,
    )


def _brute_force(times: Sequence[datetime]) -> bool:
    ends = times[BRUTE_FORCE_COUNT - 1 :]
    return any(end - start <= BRUTE_FORCE_WINDOW for start, end in zip(times, ends, strict=False))


def exfiltrates(entry: Entry) -> bool:
    """Return whether an entry alone moves too much data to a public address."""
    if entry.destination is None or entry.sent <= EXFILTRATION_BYTES:
        return False
    return is_public(entry.destination)


@lru_cache(maxsize=10_000)
def is_public(address: str) -> bool:
    """Return whether an address is outside the own networks."""
    try:
        return ip_address(address).is_global
    except ValueError:
        return True  # a host name: internal destinations are logged by address


def is_escalation(entry: Entry) -> bool:
    """Return whether an entry grants permissions."""
    return entry.event.lower() in _ESCALATIONS


def _off_hours(entry: Entry) -> bool:
    time = entry.time.astimezone(UTC)
    return time.weekday() >= 5 or not FIRST_HOUR <= time.hour <= LAST_HOUR


_BRUTE_FORCE = Indicator(name="failed_login_brute_force", kind="rule", threat="intrusion", weight=6)
#: Signs that one entry alone can show.
_SIGNS: tuple[tuple[Indicator, Callable[[Entry, frozenset[str]], bool]], ...] = (
    (
        Indicator(
            name="suspicious_ip_activity", kind="rule", threat="suspicious_activity", weight=8
        ),
        lambda entry, bad: entry.source in bad,
    ),
    (
        Indicator(
            name="data_exfiltration_pattern", kind="rule", threat="data_exfiltration", weight=6
        ),
        lambda entry, _: exfiltrates(entry),
    ),
    (
        Indicator(
            name="privilege_escalation", kind="pattern", threat="privilege_escalation", weight=6
        ),
        lambda entry, _: is_escalation(entry),
    ),
    (
        Indicator(name="failed_login", kind="pattern", threat="intrusion", weight=4),
        lambda entry, _: entry.failed_login,
    ),
    (
        Indicator(name="off_hours", kind="anomaly", threat="anomalous_behavior", weight=4),
        lambda entry, _: _off_hours(entry),
    ),
    (
        Indicator(name="data_access", kind="pattern", threat="policy_violation", weight=2),
        lambda entry, _: entry.event.lower() in _ACCESSES,
    ),
)
