from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.incident_response.logic import Incident, Kind, Severity, assess

NIGHT = datetime(2026, 11, 24, 2, tzinfo=UTC)  # a Tuesday
MORNING = NIGHT.replace(hour=10)
SATURDAY = datetime(2026, 11, 28, 10, tzinfo=UTC)
PLAIN = Incident(kind="intrusion", severity="low", systems=("web",), time=NIGHT)


@pytest.mark.parametrize(
    ("kind", "actions", "risk"),
    [
        ("malware", ("isolate_host", "quarantine_file", "terminate_process"), 0.7),
        ("intrusion", ("disable_user_account", "revoke_credentials", "block_ip"), 0.4),
        ("privilege_escalation", ("disable_user_account", "revoke_credentials", "block_ip"), 0.4),
        (
            "data_exfiltration",
            ("network_segmentation", "disable_user_account", "backup_isolation"),
            0.7,
        ),
        ("policy_violation", ("forensic_imaging",), 0.4),
    ],
)
def test_a_kind_of_incident_has_its_strategy(
    kind: Kind, actions: tuple[str, ...], risk: float
) -> None:
    assessment = assess(replace(PLAIN, kind=kind))
    assert assessment.actions == actions
    assert assessment.risk == risk
    assert assessment.block_hours == (24 if "block_ip" in actions else None)


@pytest.mark.parametrize(
    ("change", "risk"),
    [
        ({}, 0.4),
        ({"systems": ()}, 0.4),
        ({"systems": ("a", "b")}, 0.5),
        ({"systems": tuple("abcde")}, 0.5),
        ({"systems": tuple("abcdef")}, 0.7),
        ({"systems": ("eu-PROD-1",)}, 0.6),
        ({"time": MORNING}, 0.5),
        ({"time": MORNING.replace(hour=18)}, 0.4),
        ({"time": SATURDAY}, 0.4),
        ({"critical_system": True}, 0.7),
        ({"impact": 10_000}, 0.4),
        ({"impact": 10_001}, 0.6),
        ({"severity": "critical"}, 0.5),
    ],
)
def test_each_factor_adds_its_weight(change: dict[str, Any], risk: float) -> None:
    assert assess(replace(PLAIN, **change)).risk == risk


@pytest.mark.parametrize(
    ("change", "risk", "level", "approval", "escalation"),
    [
        ({}, 0.4, "medium", False, False),
        ({"critical_system": True}, 0.7, "high", False, False),
        ({"critical_system": True, "severity": "critical"}, 0.8, "critical", True, False),
        ({"critical_system": True, "impact": 20_000}, 0.9, "critical", True, True),
        ({"kind": "malware", "severity": "critical"}, 0.8, "critical", True, False),
    ],
)
def test_a_human_must_agree_from_0_8_and_is_called_from_0_9(
    change: dict[str, Any], risk: float, level: str, approval: bool, escalation: bool
) -> None:
    assessment = assess(replace(PLAIN, **change))
    assert (assessment.risk, assessment.level) == (risk, level)
    assert (assessment.approval_required, assessment.escalation_required) == (approval, escalation)


INCIDENTS = st.builds(
    Incident,
    kind=st.sampled_from(get_args(Kind)),
    severity=st.sampled_from(get_args(Severity)),
    systems=st.lists(st.sampled_from(("web", "prod-db", "mail")), max_size=8).map(tuple),
    time=st.datetimes(timezones=st.just(UTC)),
    critical_system=st.booleans(),
    impact=st.floats(0, 1e9),
)


@given(incident=INCIDENTS)
def test_the_factors_explain_the_risk(incident: Incident) -> None:
    assessment = assess(incident)
    total = sum(factor.adds for factor in assessment.factors)
    assert assessment.risk == pytest.approx(min(1.0, total))
    assert assessment.approval_required == (assessment.risk >= 0.8)
    assert assessment.escalation_required <= assessment.approval_required
    assert assessment.actions


@given(incident=INCIDENTS)
def test_more_damage_never_lowers_the_risk(incident: Incident) -> None:
    worse = replace(
        incident, severity="critical", critical_system=True, systems=(*incident.systems, "prod")
    )
    assert assess(worse).risk >= assess(incident).risk
