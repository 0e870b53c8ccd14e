"""What a finding of each rule is: technique, threat, severity and confidence; pure."""

from dataclasses import dataclass

from agents.threat_hunter.logic import Severity, Threat


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule; `technique` is of MITRE ATT&CK."""

    id: str
    technique: str
    threat: Threat
    severity: Severity
    confidence: float


#: Confidences: 0.5, and 0.2 for a rule or 0.1 for a pattern, as `logic.confidence` computes them.
#: Techniques. Source: MITRE ATT&CK for Enterprise.
RULES = {
    rule.id: rule
    for rule in (
        Rule(
            id="failed_login_brute_force",
            technique="T1110",  # Brute Force
            threat="intrusion",
            severity="high",
            confidence=0.7,
        ),
        Rule(
            id="data_exfiltration_volume",
            technique="T1048",  # Exfiltration Over Alternative Protocol
            threat="data_exfiltration",
            severity="high",
            confidence=0.6,
        ),
        Rule(
            id="data_exfiltration_pattern",
            technique="T1048",
            threat="data_exfiltration",
            severity="high",
            confidence=0.7,
        ),
        Rule(
            id="suspicious_ip_activity",
            technique="T1071",  # Application Layer Protocol
            threat="suspicious_activity",
            severity="critical",
            confidence=0.7,
        ),
        Rule(
            id="privilege_escalation",
            technique="T1098",  # Account Manipulation
            threat="privilege_escalation",
            severity="high",
            confidence=0.6,
        ),
    )
}
