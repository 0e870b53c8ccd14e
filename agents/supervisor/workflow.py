"""The state machine of workflows: what may be done next, and each change; pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from agents.supervisor.logic import RISK_THRESHOLD
from agents.supervisor.operations import follow_ups, risk
from agents.supervisor.state import FINAL, Task, Workflow

#: Seconds for one attempt of a task, and how much longer its process keeps it.
TIMEOUT, MARGIN = 30.0, 15.0
#: Attempts of a task, and seconds before the second; twice as many before each further one.
ATTEMPTS, PAUSE = 5, 2.0
#: Workflows that one process works on at once, and tasks of each.
CONCURRENT = 10


def settle(workflow: Workflow, now: datetime) -> Workflow:
    """Return a workflow after all that follows from states and time alone.

    A task whose dependency did not complete is skipped. `respond` tasks are replaced by the tasks
    that follow from the findings. After the deadline, what has not been done has failed.
    """
    changed = True
    while changed:
        before = workflow
        workflow = _with(workflow, (_settled(workflow, task, now) for task in workflow.tasks))
        workflow = _expanded(workflow)
        changed = workflow != before
    if workflow.finished is None and all(task.status in FINAL for task in workflow.tasks):
        return workflow.model_copy(update={"finished": now})
    return workflow


def ready(workflow: Workflow, now: datetime) -> tuple[Task, ...]:
    """Return the tasks that can be done now: waiting ones, and those of a process that ended."""
    return tuple(
        task
        for task in workflow.tasks
        if (task.status == "waiting" or _abandoned(task, now))
        and (task.not_before is None or task.not_before <= now)
        and _states(workflow, task) <= {"completed"}
    )


def needs_approval(workflow: Workflow, task: Task) -> bool:
    """Return whether a person must approve a task before it is done."""
    return not task.approved and risk(workflow, task) >= RISK_THRESHOLD


def claimed(workflow: Workflow, ids: Iterable[str], owner: str, now: datetime) -> Workflow:
    """Return a workflow whose tasks a process has taken."""
    lease = now + timedelta(seconds=TIMEOUT + MARGIN)
    names = set(ids)
    return _with(
        workflow,
        (
            task.model_copy(
                update={
                    "status": "running",
                    "owner": owner,
                    "lease": lease,
                    "attempts": task.attempts + 1,
                }
            )
            if task.id in names
            else task
            for task in workflow.tasks
        ),
    )


def asked(workflow: Workflow, id_: str, approval: str) -> Workflow:
    """Return a workflow with a task that waits for a person."""
    return _changed(workflow, id_, status="approval", approval=approval)


def decided(workflow: Workflow, id_: str, decision: str, by: str) -> Workflow:
    """Return a workflow after a decision: approved, denied or expired."""
    task = workflow.task(id_)
    if task is None or task.status != "approval":
        return workflow
    if decision == "approved":
        return _changed(workflow, id_, status="waiting", approved=True)
    return _changed(workflow, id_, status=decision, error=f"{decision} by {by}")


def completed(workflow: Workflow, id_: str, result: Any) -> Workflow:
    """Return a workflow with the result of a task; a final task keeps what it has."""
    return _ended(workflow, id_, status="completed", result=result, error="")


def failed(workflow: Workflow, id_: str, error: str) -> Workflow:
    """Return a workflow with a task that failed for good."""
    return _ended(workflow, id_, status="failed", error=error)


def postponed(workflow: Workflow, id_: str, error: str, now: datetime) -> Workflow:
    """Return a workflow with a task that is tried again later, or has failed too often."""
    task = workflow.task(id_)
    if task is None or task.attempts >= ATTEMPTS:
        return failed(workflow, id_, error)
    later = now + timedelta(seconds=PAUSE * 2 ** (task.attempts - 1))
    return _ended(workflow, id_, status="waiting", not_before=later, error=error, lease=None)


def handed_back(workflow: Workflow, id_: str, owner: str) -> Workflow:
    """Return a workflow whose task another process may do at once, because its own one stops."""
    task = workflow.task(id_)
    if task is None or task.owner != owner or task.status != "running":
        return workflow
    return _changed(
        workflow, id_, status="waiting", owner="", lease=None, attempts=task.attempts - 1
    )


def _settled(workflow: Workflow, task: Task, now: datetime) -> Task:
    if task.status in FINAL:
        return task
    if now >= workflow.deadline and task.status != "running":
        return task.model_copy(update={"status": "failed", "error": "the workflow's time is over"})
    if _abandoned(task, now) and task.attempts >= ATTEMPTS:
        error = f"no process finished it in {task.attempts} attempts"
        return task.model_copy(update={"status": "failed", "error": error})
    lost = [id_ for id_ in task.depends_on if _state(workflow, id_) in FINAL - {"completed"}]
    if lost and task.status == "waiting":
        error = f"depends on {lost[0]}, which is {_state(workflow, lost[0])}"
        return task.model_copy(update={"status": "skipped", "error": error})
    return task


def _expanded(workflow: Workflow) -> Workflow:
    for task in workflow.tasks:
        if task.operation != "respond" or task.status != "waiting":
            continue
        if _states(workflow, task) <= {"completed"}:
            added = follow_ups(workflow, task)
            done = task.model_copy(
                update={"status": "completed", "result": {"incidents": len(added) // 4}}
            )
            tasks = [done if each.id == task.id else each for each in workflow.tasks]
            return _with(workflow, [*tasks, *added])
    return workflow


def _abandoned(task: Task, now: datetime) -> bool:
    return task.status == "running" and (task.lease is None or task.lease <= now)


def _states(workflow: Workflow, task: Task) -> set[str]:
    return {_state(workflow, id_) for id_ in task.depends_on}


def _state(workflow: Workflow, id_: str) -> str:
    found = workflow.task(id_)
    return "failed" if found is None else found.status


def _ended(workflow: Workflow, id_: str, **changes: Any) -> Workflow:
    task = workflow.task(id_)
    if task is None or task.status != "running":
        return workflow
    return _changed(workflow, id_, **changes)


def _changed(workflow: Workflow, id_: str, **changes: Any) -> Workflow:
    return _with(
        workflow,
        (task.model_copy(update=changes) if task.id == id_ else task for task in workflow.tasks),
    )


def _with(workflow: Workflow, tasks: Iterable[Task]) -> Workflow:
    return workflow.model_copy(update={"tasks": tuple(tasks)})
