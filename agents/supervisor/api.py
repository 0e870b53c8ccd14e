"""The HTTP API of the supervisor."""

from dataclasses import dataclass

from fastapi import APIRouter
from pydantic import BaseModel, Field

from agents.supervisor.logic import Priority, TaskType, decompose

router = APIRouter()


class Goal(BaseModel, frozen=True, extra="forbid", str_strip_whitespace=True):
    """A goal in the user's words."""

    goal: str = Field(min_length=1, max_length=2000)


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One task, and the agent that should do it."""

    type: TaskType
    agent: str
    description: str
    priority: Priority


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The tasks a goal consists of, in order."""

    tasks: tuple[Assignment, ...]


@router.post("/goals")
async def goals(goal: Goal) -> Plan:
    """Split a goal into tasks."""
    return Plan(
        tasks=tuple(
            Assignment(
                type=task.type,
                agent=task.agent,
                description=task.description,
                priority=task.priority,
            )
            for task in decompose(goal.goal)
        )
    )
