"""The HTTP API of the supervisor."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field, model_validator

from agents.common import approvals as common
from agents.common.approvals import Approval, approvals, settled
from agents.common.callers.auth import Person, Who
from agents.common.errors import ProblemError, missing
from agents.common.idempotency import Key, Keyed, again, create_once
from agents.common.runtime import Parts, Runtime
from agents.common.store.state import ConflictError, new_id
from agents.supervisor import planning
from agents.supervisor import workflow as machine
from agents.supervisor.driver import Driver
from agents.supervisor.logic import Operation, Priority, TaskType, decompose
from agents.supervisor.state import Active, Task, Workflow, active, workflows

router = APIRouter()

#: Largest workflow that is stored; DynamoDB's limit is 400 KB with all results.
MAX_STORED = 250_000
#: Attempts to record a decision while the workflow changes.
ATTEMPTS = 20

Limit = Annotated[int, Query(ge=1, le=100)]
After = Annotated[str, Query(max_length=64, pattern="^[0-9a-z]*$")]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern="^[A-Za-z0-9_-]+$")]


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


class NewTask(BaseModel, frozen=True, extra="forbid"):
    """A task of a structured workflow."""

    id: Name
    operation: Operation
    description: str = Field(default="", max_length=2000)
    priority: Priority = "medium"
    input: dict[str, Any] = Field(default_factory=dict, max_length=50)
    depends_on: tuple[Name, ...] = Field(default=(), max_length=50)
    risk: float = Field(default=0.0, ge=0, le=1, strict=True)


class NewWorkflow(BaseModel, frozen=True, extra="forbid", str_strip_whitespace=True):
    """A goal to plan and reach, or tasks to do."""

    goal: str = Field(min_length=1, max_length=2000)
    tasks: tuple[NewTask, ...] = Field(default=(), max_length=50, fail_fast=True)
    events: tuple[dict[str, Any], ...] = Field(default=(), max_length=1000, fail_fast=True)
    # Whether a person must approve every containment, not only risky ones.
    require_approval: bool = Field(default=False, strict=True)
    approval_seconds: int = Field(
        default=common.DEFAULT, ge=common.SHORTEST, le=common.LONGEST, strict=True
    )
    deadline_seconds: int = Field(default=3600, ge=1, le=7 * 86_400, strict=True)

    @model_validator(mode="after")
    def _ordered(self) -> "NewWorkflow":
        known: set[str] = set()
        for task in self.tasks:
            if task.id in known:
                message = f"two tasks have the id {task.id}"
                raise ValueError(message)
            unknown = [id_ for id_ in task.depends_on if id_ not in known]
            if unknown:
                message = f"{task.id} depends on {unknown[0]}, which is not a task before it"
                raise ValueError(message)
            known.add(task.id)
        return self


class WorkflowView(BaseModel):
    """A workflow and its state."""

    id: str
    goal: str
    status: str
    caller: str
    created: datetime
    deadline: datetime
    finished: datetime | None
    planned_by: str
    note: str
    tasks: tuple[Task, ...]


class WorkflowPage(BaseModel):
    """Some workflows, the newest first; `next` is the `after` of the next page."""

    items: tuple[WorkflowView, ...]
    next: str | None


class ApprovalPage(BaseModel):
    """Some approvals, the newest first; `next` is the `after` of the next page."""

    items: tuple[Approval, ...]
    next: str | None


class Decision(BaseModel, frozen=True, extra="forbid"):
    """What a person decides."""

    decision: Literal["approve", "deny"]
    comment: str = Field(default="", max_length=2000)


@router.post("/goals")
async def goals(goal: Goal) -> Plan:
    """Split a goal into tasks by rules, and do nothing."""
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


@router.post("/workflows", status_code=201, responses=again(WorkflowView))
async def start(
    new: NewWorkflow, caller: Who, parts: Parts, response: Response, key: Key = None
) -> WorkflowView:
    """Plan a goal, or take the given tasks, and begin with them."""
    content = new.model_dump_json()
    if len(content) > MAX_STORED:
        message = f"a workflow may have {MAX_STORED} bytes; send large logs to the threat hunter"
        raise ProblemError(413, message)
    name = f"{caller.role}:{caller.name}"
    keyed = Keyed(caller=name, operation="POST /workflows", key=key, content=content)
    workflow = await _workflow(new, name, parts)
    mark = active(parts).creation(workflow.id, Active(since=workflow.created))
    document, created = await create_once(
        workflows(parts), keyed, workflow.id, workflow, also=[mark]
    )
    response.status_code = 201 if created else 200
    return view(document.value)


@router.get("/workflows")
async def list_workflows(parts: Parts, limit: Limit = 20, after: After = "") -> WorkflowPage:
    """List workflows, the newest first."""
    page = await workflows(parts).page(limit=limit, after=after)
    return WorkflowPage(items=tuple(view(item) for item in page.items), next=page.next)


@router.get("/workflows/{workflow_id}")
async def get_workflow(workflow_id: str, parts: Parts) -> WorkflowView:
    """Return a workflow with the state and result of each task."""
    document = await workflows(parts).get(workflow_id)
    if document is None:
        raise missing("workflow", workflow_id)
    return view(document.value)


@router.get("/approvals")
async def list_approvals(parts: Parts, limit: Limit = 20, after: After = "") -> ApprovalPage:
    """List approvals, the newest first."""
    page = await approvals(parts.table, parts.clock).page(limit=limit, after=after)
    now = parts.clock.now()
    return ApprovalPage(items=tuple(settled(item, now) for item in page.items), next=page.next)


@router.get("/approvals/{approval_id}")
async def get_approval(approval_id: str, parts: Parts) -> Approval:
    """Return an approval."""
    document = await approvals(parts.table, parts.clock).get(approval_id)
    if document is None:
        raise missing("approval", approval_id)
    return settled(document.value, parts.clock.now())


@router.post("/approvals/{approval_id}")
async def decide(approval_id: str, decision: Decision, who: Person, parts: Parts) -> Approval:
    """Approve or deny a task; only people may, before the deadline, and it is final."""
    for _ in range(ATTEMPTS):
        try:
            return await _decide(approval_id, decision, who.name, parts)
        except ConflictError:
            continue  # the workflow changed in the meantime
    raise ProblemError(503, "the workflow changes all the time", headers={"Retry-After": "1"})


async def background(parts: Runtime) -> None:
    """Do the tasks of workflows until cancelled."""
    await Driver(runtime=parts).run()


def view(workflow: Workflow) -> WorkflowView:
    """Return a workflow as callers see it."""
    fields = {name: getattr(workflow, name) for name in WorkflowView.model_fields}
    return WorkflowView(**fields)


async def _workflow(new: NewWorkflow, caller: str, parts: Runtime) -> Workflow:
    planned_by: Literal["rules", "model", "caller"] = "caller"
    tasks, note = tuple(Task(**task.model_dump()) for task in new.tasks), ""
    if not tasks:
        plan = await planning.plan(new.goal, parts.model)
        planned_by, note = plan.planned_by, plan.note
        tasks = planning.stored(plan.tasks, new.events, risk=float(new.require_approval))
    now = parts.clock.now()
    return Workflow(
        id=new_id(now),
        goal=new.goal,
        caller=caller,
        created=now,
        deadline=now + timedelta(seconds=new.deadline_seconds),
        approval_seconds=new.approval_seconds,
        planned_by=planned_by,
        note=note,
        tasks=tasks,
    )


async def _decide(approval_id: str, decision: Decision, who: str, parts: Runtime) -> Approval:
    collection = approvals(parts.table, parts.clock)
    document = await collection.get(approval_id)
    if document is None:
        raise missing("approval", approval_id)
    now = parts.clock.now()
    current = settled(document.value, now)
    wanted: Literal["approved", "denied"] = (
        "approved" if decision.decision == "approve" else "denied"
    )
    if current.status != "pending":
        if (current.status, current.decided_by) == (wanted, who):
            return current  # the same decision again
        raise ProblemError(409, f"the approval is {current.status} by {current.decided_by}")
    workflow = await workflows(parts).get(current.workflow)
    if workflow is None:
        raise missing("workflow", current.workflow)
    changes = {"status": wanted, "decided_by": who, "decided": now, "comment": decision.comment}
    final = current.model_copy(update=changes)
    after = machine.decided(workflow.value, current.task, wanted, who)
    await parts.table.write(
        [collection.change(document, final), workflows(parts).change(workflow, after)]
    )
    return final
