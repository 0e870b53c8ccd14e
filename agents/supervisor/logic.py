"""Split a goal into tasks for the other agents, by keywords."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Priority = Literal["low", "medium", "high", "critical"]
TaskType = Literal["threat-analysis", "incident-response", "service-delivery", "financial-analysis"]

Operation = Literal["hunt", "respond", "open", "contain", "report", "ticket", "deliver", "finance"]

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
    operation: Operation
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


#: The risk of a task from which a person must approve it.
RISK_THRESHOLD = 0.8

_PLANNING = Task(
    type="service-delivery",
    operation="ticket",
    description="Plan and assign: {goal}",
    priority="medium",
)
_DELIVERY = replace(_PLANNING, operation="deliver", description="Carry out: {goal}")
#: A goal gets the tasks of every rule with a matching word.
_RULES = (
    _Rule(
        words=("security", "threat", "breach", "attack"),
        tasks=(
            Task(
                type="threat-analysis",
                operation="hunt",
                description="Look for threats: {goal}",
                priority="high",
            ),
            Task(
                type="incident-response",
                operation="respond",
                description="Prepare a response: {goal}",
                priority="medium",
            ),
        ),
    ),
    _Rule(
        words=("service", "ticket", "maintenance", "patch"),
        tasks=(_PLANNING, _DELIVERY),
    ),
    _Rule(
        words=("cost", "revenue", "financial", "budget"),
        tasks=(
            Task(
                type="financial-analysis",
                operation="finance",
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


#: Which task must be completed before one of an operation, if both are in a plan.
_BEFORE: dict[Operation, Operation] = {"respond": "hunt", "deliver": "ticket"}


def dependency(tasks: Sequence[Task], index: int) -> int | None:
    """Return the place of the task that another one of a plan depends on; None: it has none."""
    needed = _BEFORE.get(tasks[index].operation)
    places = [place for place in range(index) if tasks[place].operation == needed]
    return places[-1] if places else None


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A task that a language model suggests; nothing in it can be trusted."""

    type: str
    description: str
    priority: str


#: Limit of the tasks that a model's plan may have.
MAX_SUGGESTIONS = 10


def refine(goal: str, suggestions: Sequence[Suggestion]) -> tuple[tuple[Task, ...], str]:
    """Return the tasks of a model's plan, and a note on what was dropped.

    A model chooses among the types of tasks and writes descriptions. What a type does is decided
    here, and words of urgency in the goal set the priority, as for the rules. No tasks: the plan
    has no valid one.
    """
    tasks: list[Task] = []
    dropped: list[str] = []
    for suggestion in suggestions[:MAX_SUGGESTIONS]:
        template = _TEMPLATES.get(suggestion.type)
        if template is None:
            dropped.append(suggestion.type[:40])
            continue
        priority = priority_of(goal) or _known_priority(suggestion.priority) or template.priority
        if template.operation == "respond" and not any(t.operation == "hunt" for t in tasks):
            hunt = _TEMPLATES["threat-analysis"]
            tasks.append(replace(hunt, description="Look for threats", priority=priority))
        tasks.append(replace(template, description=suggestion.description, priority=priority))
    notes = [f"tasks of unknown type dropped: {', '.join(dropped)}"] if dropped else []
    if len(suggestions) > MAX_SUGGESTIONS:
        notes.append(f"{len(suggestions) - MAX_SUGGESTIONS} tasks over the limit dropped")
    return tuple(tasks), "; ".join(notes)


_TEMPLATES: dict[str, Task] = {
    **{task.type: task for rule in _RULES for task in rule.tasks},
    "service-delivery": _DELIVERY,
}


def _known_priority(text: str) -> Priority | None:
    return next((name for name, _ in (*_PRIORITIES, ("medium", ())) if name == text), None)


def priority_of(goal: str) -> Priority | None:
    """Return the priority that the words of a goal indicate; None if there is none."""
    found = (priority for priority, words in _PRIORITIES if _mentions(goal, words))
    return next(found, None)


def _mentions(text: str, words: tuple[str, ...]) -> bool:
    # Whole words and their inflections: "slow" is not "low", "patching" is about a patch.
    pattern = rf"\b(?:{'|'.join(words)})(?:s|es|ed|ing)?\b"
    return re.search(pattern, text, re.IGNORECASE) is not None
