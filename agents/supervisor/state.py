"""What the supervisor stores: workflows with their tasks, and which of them are unfinished."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from agents.common.runtime import Runtime
from agents.common.store.state import Collection, Stored
from agents.supervisor.logic import Operation, Priority

TaskStatus = Literal[
    "waiting", "approval", "running", "completed", "failed", "denied", "expired", "skipped"
]
#: A task in one of these states does not change any more.
FINAL: frozenset[TaskStatus] = frozenset({"completed", "failed", "denied", "expired", "skipped"})
WorkflowStatus = Literal["running", "waiting for approval", "completed", "partial", "failed"]


class Task(Stored):
    """One piece of work of one agent."""

    id: str
    operation: Operation
    description: str = ""
    priority: Priority = "medium"
    input: dict[str, Any] = Field(default_factory=dict)
    depends_on: tuple[str, ...] = ()
    risk: float = 0.0
    status: TaskStatus = "waiting"
    approval: str = ""  # id, once one was requested
    approved: bool = False
    attempts: int = 0
    owner: str = ""  # the process that does it
    lease: datetime | None = None  # after it, another process does the task
    not_before: datetime | None = None  # of the next attempt
    result: Any = None
    error: str = ""


class Workflow(Stored):
    """The tasks that a goal consists of."""

    id: str
    goal: str
    caller: str
    created: datetime
    deadline: datetime
    approval_seconds: int
    planned_by: Literal["rules", "model", "caller"]
    note: str = ""  # what was dropped of a plan, or why the model was not used
    tasks: tuple[Task, ...]
    finished: datetime | None = None

    def task(self, id_: str) -> Task | None:
        """Return a task."""
        return next((task for task in self.tasks if task.id == id_), None)

    @property
    def status(self) -> WorkflowStatus:
        """The state of the whole, derived from the tasks."""
        states = {task.status for task in self.tasks}
        if not states <= FINAL:
            open_ = states - FINAL
            return "waiting for approval" if open_ == {"approval"} else "running"
        if states == {"completed"}:
            return "completed"
        return "partial" if "completed" in states else "failed"


class Active(Stored):
    """The mark of an unfinished workflow."""

    since: datetime


def workflows(runtime: Runtime) -> Collection[Workflow]:
    """Return the workflows."""
    return runtime.collection("workflow", Workflow)


def active(runtime: Runtime) -> Collection[Active]:
    """Return the marks of unfinished workflows, under the workflows' ids."""
    return runtime.collection("active", Active)
