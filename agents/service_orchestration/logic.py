"""From a ticket to its category, priority, deadlines and team."""

import re
from dataclasses import dataclass
from typing import Literal, TypeVar

Value = TypeVar("Value")
Priority = Literal["critical", "high", "medium", "low"]
Level = Literal["platinum", "gold", "silver", "bronze", "basic"]
Tier = Literal["enterprise", "business", "standard"]
Team = Literal["infrastructure", "application", "security", "service_desk"]
Category = Literal[
    "incident",
    "access_request",
    "hardware_request",
    "software_request",
    "change_request",
    "service_request",
]

TaskKind = Literal[
    "password_reset",
    "account_creation",
    "software_installation",
    "patch_deployment",
    "access_provisioning",
    "manual",
]

#: Urgency of a ticket whose text does not indicate one.
DEFAULT_URGENCY = 0.3


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """A client's ticket; `urgency` is from 0 to 1, None: derived from the text."""

    text: str
    level: Level
    urgency: float | None = None


@dataclass(frozen=True, kw_only=True)
class Sla:
    """The deadlines of a service level."""

    level: Level
    first_response_minutes: int
    resolution_hours: int


@dataclass(frozen=True, kw_only=True)
class Triage:
    """A ticket's category, priority, deadlines and team."""

    category: Category
    urgency: float
    priority: Priority
    sla: Sla
    team: Team


#: The service level of each contract; a level maps to itself.
LEVELS: dict[Tier | Level, Level] = {
    "enterprise": "platinum",
    "business": "gold",
    "standard": "silver",
    "platinum": "platinum",
    "gold": "gold",
    "silver": "silver",
    "bronze": "bronze",
    "basic": "basic",
}
#: The better service level that applies to a critical ticket.
_UPGRADES: dict[Level, Level] = {"bronze": "silver", "silver": "gold"}

_ORDER: tuple[Priority, ...] = ("critical", "high", "medium", "low")
#: Minutes until the first response, by priority in the order above.
_RESPONSE: dict[Level, tuple[int, int, int, int]] = {
    "platinum": (15, 30, 60, 120),
    "gold": (30, 60, 120, 240),
    "silver": (60, 120, 240, 480),
    "bronze": (120, 240, 480, 960),
    "basic": (240, 480, 960, 1440),
}
#: Hours until the resolution, by priority in the order above.
_RESOLUTION: dict[Level, tuple[int, int, int, int]] = {
    "platinum": (2, 4, 8, 24),
    "gold": (4, 8, 16, 48),
    "silver": (8, 16, 32, 72),
    "bronze": (16, 32, 64, 120),
    "basic": (24, 48, 96, 168),
}

#: The first category with a matching word applies: incidents before requests.
_CATEGORIES: tuple[tuple[Category, tuple[str, ...]], ...] = (
    ("incident", ("outage", "down", "error", "crash", "fail", "failure", "broken", "breach")),
    ("access_request", ("access", "permission", "password", "account", "login")),
    ("hardware_request", ("laptop", "monitor", "keyboard", "printer", "phone", "hardware")),
    ("software_request", ("install", "installation", "software", "license", "licence")),
    ("change_request", ("change", "upgrade", "migrate", "migration", "patch", "configure")),
)
_TEAMS: tuple[tuple[Team, tuple[str, ...]], ...] = (
    ("security", ("security", "breach", "phishing", "malware", "virus", "permission")),
    ("infrastructure", ("server", "network", "database", "disk", "storage", "vpn", "patch")),
    ("application", ("application", "app", "bug", "website", "api", "integration")),
)
#: The first kind of task with a matching word applies; without one, a person does the task.
_KINDS: tuple[tuple[TaskKind, tuple[str, ...]], ...] = (
    ("password_reset", ("password",)),
    ("patch_deployment", ("patch", "update", "upgrade")),
    ("software_installation", ("install", "installation", "software")),
    ("access_provisioning", ("access", "permission", "role")),
    ("account_creation", ("account", "onboarding", "user")),
)
_URGENCIES: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.9, ("outage", "down", "critical", "emergency", "breach")),
    (0.7, ("urgent", "urgently", "immediately", "blocked", "asap")),
    (0.5, ("slow", "degraded", "soon", "important")),
    (0.1, ("question", "minor", "whenever", "optional")),
)


def triage(ticket: Ticket) -> Triage:
    """Return a ticket's triage; without a matching rule it is a request for the service desk."""
    urgency = ticket.urgency if ticket.urgency is not None else urgency_of(ticket.text)
    priority = priority_of(urgency)
    return Triage(
        category=_first(ticket.text, _CATEGORIES, "service_request"),
        urgency=urgency,
        priority=priority,
        sla=sla(ticket.level, priority),
        team=_first(ticket.text, _TEAMS, "service_desk"),
    )


def kind_of(text: str) -> TaskKind:
    """Return the kind of service task that a text asks for."""
    return _first(text, _KINDS, "manual")


def urgency_of(text: str) -> float:
    """Return the urgency of a text, from 0 to 1; the most urgent word decides."""
    return _first(text, _URGENCIES, DEFAULT_URGENCY)


def priority_of(urgency: float) -> Priority:
    """Return the priority of an urgency: 0.8 critical, 0.6 high, 0.4 medium, below that low."""
    steps: tuple[tuple[float, Priority], ...] = ((0.8, "critical"), (0.6, "high"), (0.4, "medium"))
    return next((name for least, name in steps if urgency >= least), "low")


def sla(level: Level, priority: Priority) -> Sla:
    """Return the deadlines; a critical ticket of silver or bronze gets those one level up."""
    effective = _UPGRADES.get(level, level) if priority == "critical" else level
    column = _ORDER.index(priority)
    return Sla(
        level=effective,
        first_response_minutes=_RESPONSE[effective][column],
        resolution_hours=_RESOLUTION[effective][column],
    )


def _first(text: str, table: tuple[tuple[Value, tuple[str, ...]], ...], otherwise: Value) -> Value:
    return next((value for value, words in table if _mentions(text, words)), otherwise)


def _mentions(text: str, words: tuple[str, ...]) -> bool:
    # Whole words and their inflections: "download" is not "down".
    pattern = rf"\b(?:{'|'.join(words)})(?:s|es|d|ed|ing)?\b"
    return re.search(pattern, text, re.IGNORECASE) is not None
