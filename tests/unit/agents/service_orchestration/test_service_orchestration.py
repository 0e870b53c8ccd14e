from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.service_orchestration.logic import (
    LEVELS,
    Category,
    Level,
    Priority,
    Team,
    Ticket,
    priority_of,
    sla,
    triage,
)

PRIORITIES: tuple[Priority, ...] = get_args(Priority)


@pytest.mark.parametrize(
    ("text", "category", "priority", "team"),
    [
        ("The database server is down", "incident", "critical", "infrastructure"),
        ("The app crashes", "incident", "low", "application"),
        ("Urgent: security breach", "incident", "critical", "security"),
        ("I forgot my password, blocked", "access_request", "high", "service_desk"),
        ("New laptop", "hardware_request", "low", "service_desk"),
        ("Please install an editor", "software_request", "low", "service_desk"),
        ("Upgrade of the VPN soon", "change_request", "medium", "infrastructure"),
        ("A question about downloads", "service_request", "low", "service_desk"),
        ("", "service_request", "low", "service_desk"),
    ],
)
def test_words_decide_a_ticket_s_category_and_team(
    text: str, category: Category, priority: Priority, team: Team
) -> None:
    result = triage(Ticket(text=text, level="platinum"))
    assert (result.category, result.priority, result.team) == (category, priority, team)


@pytest.mark.parametrize(
    ("urgency", "priority"),
    [
        (1.0, "critical"),
        (0.8, "critical"),
        (0.79, "high"),
        (0.6, "high"),
        (0.59, "medium"),
        (0.4, "medium"),
        (0.39, "low"),
        (0.0, "low"),
    ],
)
def test_an_urgency_has_its_priority(urgency: float, priority: Priority) -> None:
    assert priority_of(urgency) == priority


def test_a_given_urgency_overrides_the_words() -> None:
    result = triage(Ticket(text="outage", level="gold", urgency=0.0))
    assert (result.urgency, result.priority) == (0.0, "low")


@pytest.mark.parametrize(
    ("level", "minutes", "hours"),
    [
        # Critical, high, medium, low. A critical ticket of bronze or silver is treated one level
        # up: its first column is the next level's.
        ("platinum", (15, 30, 60, 120), (2, 4, 8, 24)),
        ("gold", (30, 60, 120, 240), (4, 8, 16, 48)),
        ("silver", (30, 120, 240, 480), (4, 16, 32, 72)),
        ("bronze", (60, 240, 480, 960), (8, 32, 64, 120)),
        ("basic", (240, 480, 960, 1440), (24, 48, 96, 168)),
    ],
)
def test_a_level_promises_these_deadlines(
    level: Level, minutes: tuple[int, ...], hours: tuple[int, ...]
) -> None:
    promised = [sla(level, priority) for priority in PRIORITIES]
    assert tuple(one.first_response_minutes for one in promised) == minutes
    assert tuple(one.resolution_hours for one in promised) == hours


@pytest.mark.parametrize(
    ("level", "treated"),
    [("silver", "gold"), ("bronze", "silver"), ("gold", "gold"), ("basic", "basic")],
)
def test_only_critical_tickets_are_treated_at_a_better_level(level: Level, treated: Level) -> None:
    assert sla(level, "critical").level == treated
    assert sla(level, "high").level == level


@pytest.mark.parametrize("level", get_args(Level))
def test_what_is_more_urgent_is_never_promised_for_later(level: Level) -> None:
    promised = [sla(level, priority) for priority in PRIORITIES]
    for urgent, later in pairwise(promised):
        assert urgent.first_response_minutes < later.first_response_minutes
        assert urgent.resolution_hours < later.resolution_hours


def test_a_contract_includes_its_level_of_service() -> None:
    assert LEVELS["enterprise"] == "platinum"
    assert LEVELS["business"] == "gold"
    assert LEVELS["standard"] == "silver"
    assert all(LEVELS[level] == level for level in get_args(Level))


@given(
    text=st.text(),
    level=st.sampled_from(get_args(Level)),
    urgency=st.none() | st.floats(0, 1),
)
def test_every_ticket_finds_its_place(text: str, level: Level, urgency: float | None) -> None:
    result = triage(Ticket(text=text, level=level, urgency=urgency))
    assert result.priority == priority_of(result.urgency)
    assert result.sla == sla(level, result.priority)
