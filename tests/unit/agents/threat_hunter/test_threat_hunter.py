from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.threat_hunter.logic import (
    BRUTE_FORCE_COUNT,
    Entry,
    Indicator,
    Kind,
    Threat,
    analyze,
    confidence,
    score,
    severity,
)

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)  # a Tuesday
NONE: frozenset[str] = frozenset()


def entry(
    event: str = "DescribeInstances",
    *,
    at: datetime = NOON,
    error: str | None = None,
    sent: int = 0,
    destination: str | None = None,
) -> Entry:
    return Entry(
        event=event,
        source="198.51.100.7",
        time=at,
        error=error,
        sent=sent,
        destination=destination,
    )


def logins(count: int, *, seconds: float) -> list[Entry]:
    """Return refused logins spread evenly, the last one `seconds` after the first."""
    step = timedelta(seconds=seconds / (count - 1))
    return [entry("ConsoleLogin", at=NOON + i * step, error="Failed") for i in range(count)]


def found(entries: Sequence[Entry], bad: frozenset[str] = NONE) -> tuple[str, ...]:
    return tuple(name for finding in analyze(entries, bad) for name in finding.indicators)


@pytest.mark.parametrize(
    ("entries", "indicators"),
    [
        ([entry()], ()),
        ([entry("ConsoleLogin")], ()),
        ([entry("ConsoleLogin", error="Failed")], ("failed_login",)),
        ([entry("authentication_failure")], ("failed_login",)),
        (logins(5, seconds=300), ("failed_login_brute_force", "failed_login")),
        (logins(5, seconds=301), ("failed_login",)),
        (logins(4, seconds=3), ("failed_login",)),
        ([entry("AttachUserPolicy")], ("privilege_escalation",)),
        ([entry("GetObject")], ("data_access",)),
        ([entry(sent=10_000_001, destination="8.8.8.8")], ("data_exfiltration_pattern",)),
        ([entry(sent=10_000_001, destination="host.example")], ("data_exfiltration_pattern",)),
        ([entry(sent=10_000_000, destination="8.8.8.8")], ()),
        ([entry(sent=10_000_001, destination="10.0.0.1")], ()),
        ([entry(sent=10_000_001)], ()),
        ([entry(at=NOON.replace(hour=7, minute=59))], ("off_hours",)),
        ([entry(at=NOON.replace(hour=8))], ()),
        ([entry(at=NOON.replace(hour=18, minute=59))], ()),
        ([entry(at=NOON.replace(hour=19))], ("off_hours",)),
        ([entry(at=NOON + timedelta(days=4))], ("off_hours",)),  # a Saturday
        # Noon in Tokyo is the middle of the night in UTC.
        ([entry(at=NOON.replace(tzinfo=timezone(timedelta(hours=9))))], ("off_hours",)),
    ],
)
def test_each_sign_is_seen_at_its_limit_and_not_below(
    entries: list[Entry], indicators: tuple[str, ...]
) -> None:
    assert found(entries) == indicators


def test_a_known_attacker_is_critical() -> None:
    [finding] = analyze([entry()], frozenset({"198.51.100.7"}))
    assert (finding.severity, finding.confidence) == ("critical", 0.7)
    assert finding.threat == "suspicious_activity"


def test_signs_of_one_source_bear_each_other_out() -> None:
    [finding] = analyze(logins(5, seconds=60), NONE)
    assert finding.threat == "intrusion"
    assert finding.score == 7  # brute force 6, and one further sign
    assert finding.severity == "high"
    assert finding.confidence == 1.0
    assert finding.entries == BRUTE_FORCE_COUNT
    assert (finding.first, finding.last) == (NOON, NOON + timedelta(seconds=60))


def test_sources_are_not_mixed_and_the_worst_comes_first() -> None:
    entries = [
        Entry(event="GetObject", source="192.0.2.1", time=NOON),
        Entry(event="CreateRole", source="192.0.2.2", time=NOON),
    ]
    assert [finding.source for finding in analyze(entries, NONE)] == ["192.0.2.2", "192.0.2.1"]


@pytest.mark.parametrize(
    ("points", "name"),
    [
        (0, "info"),
        (1, "info"),
        (2, "low"),
        (4, "medium"),
        (6, "high"),
        (7, "high"),
        (8, "critical"),
    ],
)
def test_a_score_has_its_severity(points: int, name: str) -> None:
    assert severity(points) == name


def indicator(kind: Kind, threat: Threat = "intrusion", weight: int = 4) -> Indicator:
    return Indicator(name=kind, kind=kind, threat=threat, weight=weight)


@pytest.mark.parametrize(
    ("kinds", "sure"),
    [
        (("rule",), 0.7),
        (("pattern",), 0.6),
        (("anomaly",), 0.6),
        (("pattern", "pattern"), 0.8),
        (("rule", "pattern"), 1.0),
        (("rule", "rule"), 0.9),
        (("rule", "pattern", "anomaly"), 1.0),
    ],
)
def test_confidence_comes_of_the_kinds_of_signs(kinds: tuple[Kind, ...], sure: float) -> None:
    assert confidence([indicator(kind) for kind in kinds]) == pytest.approx(sure)


KINDS: tuple[Kind, ...] = ("rule", "pattern", "anomaly")
INDICATORS = st.lists(st.builds(indicator, st.sampled_from(KINDS), weight=st.integers(2, 8)))


@given(indicators=INDICATORS, more=INDICATORS)
def test_more_signs_never_make_a_finding_weaker(
    indicators: list[Indicator], more: list[Indicator]
) -> None:
    assert 0 <= score(indicators) <= score(indicators + more) <= 10
    assert 0.5 <= confidence(indicators) <= confidence(indicators + more) <= 1


ENTRIES = st.lists(
    st.builds(
        Entry,
        event=st.sampled_from(("ConsoleLogin", "GetObject", "CreateRole", "RunInstances")),
        source=st.sampled_from(("192.0.2.1", "192.0.2.2")),
        time=st.integers(0, 3000).map(lambda seconds: NOON + timedelta(seconds=seconds)),
        error=st.sampled_from((None, "Failed")),
    ),
    max_size=30,
)


@given(entries=ENTRIES, random=st.randoms())
def test_the_order_of_the_entries_does_not_matter(entries: list[Entry], random: Random) -> None:
    shuffled = random.sample(entries, len(entries))
    assert analyze(entries, NONE) == analyze(shuffled, NONE)


@given(entries=ENTRIES)
def test_brute_force_is_what_counting_every_window_finds(entries: list[Entry]) -> None:
    def attacked(source: str) -> bool:
        times = [e.time for e in entries if e.source == source and e.failed_login]
        windows = ([t for t in times if 0 <= (t - start).total_seconds() <= 300] for start in times)
        return any(len(window) >= 5 for window in windows)

    expected = {source for source in ("192.0.2.1", "192.0.2.2") if attacked(source)}
    findings = analyze(entries, NONE)
    assert {f.source for f in findings if "failed_login_brute_force" in f.indicators} == expected
