import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.supervisor.logic import AGENTS, Priority, decompose, priority_of

ACSO_TOML = Path(__file__).parents[4] / "acso.toml"


def test_the_agents_that_it_assigns_work_to_are_its_calls_in_acso_toml() -> None:
    agents = tomllib.loads(ACSO_TOML.read_text())["agents"]
    assert set(AGENTS.values()) == set(agents["supervisor"]["calls"])
    assert set(AGENTS.values()) <= set(agents)


@pytest.mark.parametrize(
    ("goal", "tasks"),
    [
        (
            "Look into the breach",
            [("threat-analysis", "high"), ("incident-response", "medium")],
        ),
        (
            "Patching of the web servers",
            [("service-delivery", "medium"), ("service-delivery", "medium")],
        ),
        ("Cut costs", [("financial-analysis", "medium")]),
        ("Make tea", [("service-delivery", "medium")]),
        (
            "Security within budget",
            [
                ("threat-analysis", "high"),
                ("incident-response", "medium"),
                ("financial-analysis", "medium"),
            ],
        ),
        (
            "URGENT: attack",
            [("threat-analysis", "critical"), ("incident-response", "critical")],
        ),
        ("Optional: budget review", [("financial-analysis", "low")]),
    ],
)
def test_a_goal_becomes_the_tasks_of_its_keywords(goal: str, tasks: list[tuple[str, str]]) -> None:
    assert [(task.type, task.priority) for task in decompose(goal)] == tasks


@pytest.mark.parametrize(
    ("goal", "priority"),
    [
        ("an emergency", "critical"),
        ("important and urgent", "critical"),
        ("of low priority", "high"),  # the stronger word counts
        ("minor", "low"),
        ("the page is slow", None),
        ("the highway", None),
        ("", None),
    ],
)
def test_words_of_urgency_set_the_priority(goal: str, priority: Priority | None) -> None:
    assert priority_of(goal) == priority


@given(goal=st.text())
def test_every_goal_has_tasks_that_some_agent_does(goal: str) -> None:
    tasks = decompose(goal)
    assert tasks
    for task in tasks:
        assert task.agent == AGENTS[task.type]
        assert task.description.endswith(goal)


@given(goal=st.text())
def test_case_does_not_matter(goal: str) -> None:
    lower = goal.lower()
    if lower.upper().lower() == lower:
        assert [task.type for task in decompose(lower)] == [
            task.type for task in decompose(lower.upper())
        ]
