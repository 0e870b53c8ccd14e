"""What each operation asks of which agent, and what follows from its result; pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from agents.supervisor.logic import Operation
from agents.supervisor.state import Task, Workflow

#: Findings of these severities become incidents, at most so many in one workflow.
SERIOUS = ("medium", "high", "critical")
MAX_INCIDENTS = 10
#: Larger results are not stored; what follows needs only these fields of them.
KEPT_OF_FINDING = (
    *("id", "rule", "technique", "threat", "severity", "confidence"),
    *("source", "first", "last", "events"),
)


class InputError(Exception):
    """A task lacks what its operation needs."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request to an agent."""

    agent: str
    method: str
    path: str
    body: dict[str, Any] | None = None


def request(workflow: Workflow, task: Task) -> Request:
    """Return the request of a task; raises `InputError` if an earlier result lacks something."""
    match task.operation:
        case "hunt":
            found = Request(agent="threat-hunter", method="POST", path="/hunts", body=task.input)
        case "open":
            found = _respond("POST", "", task.input)
        case "contain":
            body = {"approval": task.approval} if task.approved else {}
            found = _respond("POST", f"/{incident(workflow, task)}/containment", body)
        case "report":
            found = _respond("GET", f"/{incident(workflow, task)}/report", None)
        case "ticket":
            found = _serve("/tickets", _ticket(workflow, task))
        case "deliver":
            found = _serve("/tasks", {"description": task.description, **task.input})
        case "finance":
            found = Request(agent="financial-intelligence", method="GET", path="/summary")
        case _:
            message = "the supervisor does this itself"
            raise InputError(message)
    return found


def valid(workflow: Workflow, task: Task) -> bool:
    """Return whether a task has what its operation needs."""
    try:
        request(workflow, task)
    except InputError:
        return False
    return True


def risk(workflow: Workflow, task: Task) -> float:
    """Return the risk of a task: its own, or that of the incident that it contains."""
    if task.operation != "contain":
        return task.risk
    found = _opened(workflow, task).get("risk", 1.0)
    return max(task.risk, float(found) if isinstance(found, int | float) else 1.0)


def subject(workflow: Workflow, task: Task) -> str:
    """Return what a task acts on, for the person who approves it."""
    if task.operation == "contain":
        return f"incident {incident(workflow, task)}"
    return f"task {task.id} of workflow {workflow.id}"


def reason(workflow: Workflow, task: Task) -> str:
    """Return why a task has its risk."""
    factors = _opened(workflow, task).get("factors") if task.operation == "contain" else None
    names = [str(item.get("reason")) for item in factors or () if isinstance(item, dict)]
    return "; ".join(names) or task.description


def incident(workflow: Workflow, task: Task) -> str:
    """Return the id of the incident that a task is about."""
    found = task.input.get("incident") or _opened(workflow, task).get("id")
    if not (isinstance(found, str) and found.isalnum()):
        message = f"task {task.id} needs the id of an incident"
        raise InputError(message)
    return found


def follow_ups(workflow: Workflow, task: Task) -> tuple[Task, ...]:
    """Return the tasks for the findings that a `respond` task depends on."""
    findings = [
        finding
        for id_ in task.depends_on
        for finding in findings_of(workflow.task(id_))
        if finding.get("severity") in SERIOUS
    ]
    return tuple(_tasks_for(findings[:MAX_INCIDENTS], task))


def findings_of(task: Task | None) -> list[dict[str, Any]]:
    """Return the findings in a task's result; nothing of another form."""
    result = task.result if task is not None else None
    found = result.get("findings") if isinstance(result, dict) else None
    return [item for item in found or () if isinstance(item, dict)]


def kept(operation: Operation, body: Any) -> Any:
    """Return what is stored of an answer."""
    if operation != "hunt" or not isinstance(body, dict):
        return body
    findings = [item for item in body.get("findings") or () if isinstance(item, dict)]
    return {
        **{name: value for name, value in body.items() if name != "findings"},
        "findings": [
            {name: finding[name] for name in KEPT_OF_FINDING if name in finding}
            for finding in findings[: 5 * MAX_INCIDENTS]
        ],
    }


def unfinished(operation: Operation, body: Any) -> str:
    """Return why an answer of success is not the end of a task; empty if it is."""
    if operation != "contain" or not isinstance(body, dict) or body.get("status") != "containing":
        return ""
    steps_ = [step for step in body.get("steps") or () if isinstance(step, dict)]
    failed = [step for step in steps_ if step.get("status") == "failed"]
    if not failed:
        return ""
    notes = ", ".join(f"{step.get('action')} on {step.get('target')}" for step in failed[:3])
    return f"{len(failed)} of {len(steps_)} steps failed: {notes}"


def _tasks_for(findings: Iterable[dict[str, Any]], parent: Task) -> Iterable[Task]:
    for number, finding in enumerate(findings, 1):
        opened = f"open-{number}"
        steps: tuple[tuple[str, Operation, str], ...] = (
            (f"contain-{number}", "contain", opened),
            (f"ticket-{number}", "ticket", opened),
            (f"report-{number}", "report", f"contain-{number}"),
        )
        yield Task(
            id=opened,
            operation="open",
            description=f"Open an incident for {finding.get('rule')}",
            priority=parent.priority,
            input={"finding": finding},
            depends_on=(parent.id,),
        )
        for id_, operation, before in steps:
            yield Task(
                id=id_,
                operation=operation,
                description=f"{operation.capitalize()} the incident of {finding.get('rule')}",
                priority=parent.priority,
                depends_on=(before,),
                risk=parent.risk if operation == "contain" else 0.0,
            )


def _opened(workflow: Workflow, task: Task) -> dict[str, Any]:
    """Return the result of the `open` task before a task; empty if there is none."""
    for id_ in task.depends_on:
        before = workflow.task(id_)
        if before is None:
            continue
        if before.operation == "open" and isinstance(before.result, dict):
            return before.result
        found = _opened(workflow, before)
        if found:
            return found
    return {}


def _ticket(workflow: Workflow, task: Task) -> dict[str, Any]:
    about = _opened(workflow, task).get("id")
    suffix = f" (incident {about})" if about else ""
    return {
        "title": f"{task.description}{suffix}"[:500],
        "description": workflow.goal,
        **task.input,
    }


def _respond(method: str, path: str, body: dict[str, Any] | None) -> Request:
    return Request(agent="incident-response", method=method, path=f"/incidents{path}", body=body)


def _serve(path: str, body: dict[str, Any]) -> Request:
    return Request(agent="service-orchestration", method="POST", path=path, body=body)
