"""Split a goal into tasks for the other agents, by keywords."""

import re
from dataclasses import dataclass, replace
from typing import Literal

Priority = Literal["low", "medium", "high", "critical"]
TaskType = Literal["threat-analysis", "incident-response", "service-delivery", "financial-analysis"]

#: Which agent does which type of task.
AGENTS: dict[TaskType, str] = {
    "threat-analysis": "threat-hunter",
    "incident-response": "incident-response",
    "service-delivery": "service-orchestration",
    "financial-analysis": "financial-intelligence",
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """One piece of work for one agent."""

    type: TaskType
    description: str
    priority: Priority

    @property
    def agent(self) -> str:
        """Name of the agent that does it."""
        return AGENTS[self.type]


@dataclass(frozen=True, kw_only=True)
class _Rule:
    words: tuple[str, ...]
    tasks: tuple[Task, ...]


_DELIVERY = Task(type="service-delivery", description="Carry out: {goal}", priority="medium")
#: A goal gets the tasks of every rule with a matching word.
_RULES = (
    _Rule(
        words=("security", "threat", "breach", "attack"),
        tasks=(
            Task(type="threat-analysis", description="Look for threats: {goal}", priority="high"),
            Task(
                type="incident-response",
                description="Prepare a response: {goal}",
                priority="medium",
            ),
        ),
    ),
    _Rule(
        words=("service", "ticket", "maintenance", "patch"),
        tasks=(replace(_DELIVERY, description="Plan and assign: {goal}"), _DELIVERY),
    ),
    _Rule(
        words=("cost", "revenue", "financial", "budget"),
        tasks=(
            Task(
                type="financial-analysis",
                description="Work out the figures: {goal}",
                priority="medium",
            ),
        ),
    ),
)
#: Words that set the priority of all tasks of a goal; the first match applies.
_PRIORITIES: tuple[tuple[Priority, tuple[str, ...]], ...] = (
    ("critical", ("critical", "urgent", "emergency", "immediate", "immediately")),
    ("high", ("high", "important", "priority")),
    ("low", ("low", "minor", "optional")),
)


def decompose(goal: str) -> tuple[Task, ...]:
    """Return the tasks that a goal consists of, in the order they should be done; at least one.

    Without a matching rule, a goal is one task for service delivery. Words of urgency in the goal
    override the priority of the rule.
    """
    tasks = [task for rule in _RULES if _mentions(goal, rule.words) for task in rule.tasks]
    priority = priority_of(goal)
    return tuple(
        replace(
            task,
            description=task.description.replace("{goal}", goal),
            priority=priority or task.priority,
        )
        for task in tasks or [_DELIVERY]
    )


def priority_of(goal: str) -> Priority | None:
    """Return the priority that the words of a goal indicate; None if there is none."""
    found = (priority for priority, words in _PRIORITIES if _mentions(goal, words))
    return next(found, None)


def _mentions(text: str, words: tuple[str, ...]) -> bool:
    # Whole words and their inflections: "slow" is not "low", "patching" is about a patch.
    pattern = rf"\b(?:{'|'.join(words)})(?:s|es|ed|ing)?\b"
    return re.search(pattern, text, re.IGNORECASE) is not None
