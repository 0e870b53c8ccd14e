"""What the threat hunter stores: findings, the windows of sources, and attackers' addresses."""

from datetime import datetime, timedelta
from typing import Any

from agents.common.runtime import Runtime
from agents.common.store.state import Collection, Stored
from agents.threat_hunter.logic import Severity, Threat

#: How long findings are kept, and windows after their last change.
FINDINGS_KEPT, WINDOWS_KEPT = timedelta(days=90), timedelta(days=2)


class Finding(Stored):
    """Signs of one attack: one rule, one source, one episode."""

    id: str
    rule: str
    technique: str
    threat: Threat
    severity: Severity
    confidence: float
    source: str
    first: datetime
    last: datetime
    events: int
    evidence: tuple[dict[str, Any], ...] = ()


class StoredMark(Stored):
    """One event of a window."""

    time: datetime
    id: str
    amount: int = 1


class Opened(Stored):
    """The finding of an episode, and the time that it covers."""

    finding: str
    first: datetime
    last: datetime


class Window(Stored):
    """The recent events of one source for one rule, and the findings opened for them."""

    marks: tuple[StoredMark, ...] = ()
    opened: tuple[Opened, ...] = ()


class Intelligence(Stored):
    """Addresses of known attackers."""

    addresses: tuple[str, ...]


def findings(runtime: Runtime) -> Collection[Finding]:
    """Return the findings."""
    return runtime.collection("finding", Finding, FINDINGS_KEPT)


def windows(runtime: Runtime, rule: str) -> Collection[Window]:
    """Return the windows of a rule, by source."""
    return runtime.collection(f"window-{rule}", Window, WINDOWS_KEPT)


def intelligence(runtime: Runtime) -> Collection[Intelligence]:
    """Return the addresses of known attackers; the only id is `addresses`."""
    return runtime.collection("intelligence", Intelligence)
