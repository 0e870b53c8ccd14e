"""Recommended actions for an incident, their risk, and whether they need approval."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

Severity = Literal["low", "medium", "high", "critical"]
Kind = Literal[
    "malware",
    "intrusion",
    "data_exfiltration",
    "privilege_escalation",
    "lateral_movement",
    "suspicious_activity",
    "policy_violation",
    "anomalous_behavior",
]
Action = Literal[
    "isolate_host",
    "quarantine_file",
    "terminate_process",
    "disable_user_account",
    "revoke_credentials",
    "block_ip",
    "network_segmentation",
    "backup_isolation",
    "shutdown_service",
    "forensic_imaging",
]

#: Risks, in tenths, from which a person must approve the actions, and is alerted at once.
APPROVAL, ESCALATION = 8, 9
#: How long an address is blocked.
BLOCK_HOURS = 24
#: Damage from which an incident counts as expensive, in US dollars.
EXPENSIVE = 10_000
#: Working hours (UTC), Monday to Friday: actions then affect more people.
FIRST_HOUR, LAST_HOUR = 8, 18


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """The actions for a kind of incident, in order, and their risk in tenths."""

    name: str
    actions: tuple[Action, ...]
    risk: int


@dataclass(frozen=True, kw_only=True)
class Incident:
    """An incident; `time` has a zone, `impact` is the damage in US dollars."""

    kind: Kind
    severity: Severity
    systems: tuple[str, ...]
    time: datetime
    critical_system: bool = False
    impact: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Factor:
    """One reason for a risk, and how much it adds."""

    reason: str
    adds: float


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """The recommended actions, their risk, and whether they need approval."""

    strategy: str
    actions: tuple[Action, ...]
    block_hours: int | None  # of block_ip, if it is among the actions
    risk: float  # 0 to 1
    level: Severity
    factors: tuple[Factor, ...]
    approval_required: bool
    escalation_required: bool


_HIGH, _MEDIUM = 7, 4
_INTRUSION = Strategy(
    name="lock_out",
    actions=("disable_user_account", "revoke_credentials", "block_ip"),
    risk=_MEDIUM,
)
_STRATEGIES: dict[Kind, Strategy] = {
    "malware": Strategy(
        name="contain_host",
        actions=("isolate_host", "quarantine_file", "terminate_process"),
        risk=_HIGH,
    ),
    "intrusion": _INTRUSION,
    "privilege_escalation": _INTRUSION,
    "data_exfiltration": Strategy(
        name="contain_data",
        actions=("network_segmentation", "disable_user_account", "backup_isolation"),
        risk=_HIGH,
    ),
}
#: For all other kinds of incident: keep evidence, change nothing.
_INVESTIGATE = Strategy(name="investigate", actions=("forensic_imaging",), risk=_MEDIUM)


def assess(incident: Incident) -> Assessment:
    """Return the strategy for an incident with its risk; from 0.8 it needs approval."""
    strategy = _STRATEGIES.get(incident.kind, _INVESTIGATE)
    factors = _factors(incident, strategy)
    tenths = min(10, sum(weight for _, weight in factors))
    return Assessment(
        strategy=strategy.name,
        actions=strategy.actions,
        block_hours=BLOCK_HOURS if "block_ip" in strategy.actions else None,
        risk=tenths / 10,
        level=level(tenths),
        factors=tuple(Factor(reason=reason, adds=weight / 10) for reason, weight in factors),
        approval_required=tenths >= APPROVAL,
        escalation_required=tenths >= ESCALATION,
    )


def level(tenths: int) -> Severity:
    """Return the level of a risk in tenths: 8 critical, 6 high, 4 medium, below that low."""
    steps: tuple[tuple[int, Severity], ...] = ((8, "critical"), (6, "high"), (4, "medium"))
    return next((name for least, name in steps if tenths >= least), "low")


def _factors(incident: Incident, strategy: Strategy) -> list[tuple[str, int]]:
    """Return each reason for the risk with its weight, in tenths to avoid rounding."""
    systems = len(incident.systems)
    production = any("prod" in system.lower() for system in incident.systems)
    possible = (
        (True, f"the actions of {strategy.name}", strategy.risk),
        (systems > 5, "more than 5 systems", 2),
        (systems > 1, "more than 1 system", 1),
        (_business_hours(incident.time), "business hours", 1),
        (incident.critical_system, "a critical system", 3),
        (incident.impact > EXPENSIVE, f"damage over {EXPENSIVE} USD", 2),
        (incident.severity == "critical", "a critical incident", 1),
        (production, "a production system", 2),
    )
    return [(reason, weight) for holds, reason, weight in possible if holds]


def _business_hours(time: datetime) -> bool:
    local = time.astimezone(UTC)
    return local.weekday() < 5 and FIRST_HOUR <= local.hour < LAST_HOUR
