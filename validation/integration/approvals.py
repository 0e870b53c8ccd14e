"""Checks of approvals: granted, denied and timed out, and what happens then."""

from collections.abc import Sequence
from typing import Any

from validation.client import Agents, drilled
from validation.integration.work import (
    RESPONSE,
    SUPERVISOR,
    WORK_SECONDS,
    approval_of,
    asked,
    attack,
    by_id,
    ended,
    needs,
)
from validation.model import Check, CheckContext, Evidence, Finding, Severity, judged

FINAL = ("approved", "denied", "expired")


async def granted(_: CheckContext, agents: Agents) -> Finding:
    """Let a risky task wait, approve it, and look at whether it is done only then."""
    task = {"id": "risky", "operation": "deliver", "description": "A drill", "risk": 0.95}
    started = await agents.done(
        SUPERVISOR, "POST", "/workflows", {"goal": "A risky task", "tasks": [task]}
    )
    id_ = str(started["id"])
    approval = await approval_of(agents, id_)
    before = by_id(await agents.done(SUPERVISOR, "GET", f"/workflows/{id_}"))["risky"]
    decided = await agents.done(
        SUPERVISOR, "POST", f"/approvals/{approval['id']}", {"decision": "approve"}
    )
    path = f"/workflows/{id_}"
    after = by_id(await agents.until(SUPERVISOR, path, ended, seconds=WORK_SECONDS))["risky"]
    problems = [f"the task did not wait: it was {before['status']}"] * (
        before["status"] != "approval" or before["result"] is not None
    )
    problems += [f"the approval is {decided['status']}"] * (decided["status"] != "approved")
    problems += ["nobody is recorded as who approved it"] * (not decided.get("decided_by"))
    problems += [f"the task is {after['status']}: {after['error']}"] * (
        after["status"] != "completed"
    )
    return judged(
        problems,
        Evidence("approvals", 1, 1),
        observed=f"approved by {decided.get('decided_by')}, then done",
        expected="the task waits for a person, and is done after the approval",
    )


async def denied(_: CheckContext, agents: Agents) -> Finding:
    """Deny a containment, and look at whether that is final and nothing was executed."""
    _source, events = attack()
    id_, approval = await asked(agents, events)
    decision = {"decision": "deny", "comment": "a drill"}
    await agents.done(SUPERVISOR, "POST", f"/approvals/{approval['id']}", decision)
    return await _untouched(agents, id_, str(approval["id"]), "denied", await _contained(agents))


async def timed_out(_: CheckContext, agents: Agents) -> Finding:
    """Let the time for an approval pass, and look at whether that is final."""
    _source, events = attack()
    id_, approval = await asked(agents, events, approval_seconds=1)
    path = f"/approvals/{approval['id']}"
    await agents.until(
        SUPERVISOR, path, lambda found: found["status"] in FINAL, seconds=WORK_SECONDS
    )
    return await _untouched(agents, id_, str(approval["id"]), "expired")


async def _contained(agents: Agents) -> list[str]:
    """Contain a critical incident without approval; return what is wrong if that is possible."""
    report = {"type": "malware", "severity": "critical", "systems": ["drill"]}
    body = {"report": report | {"critical_system": True, "impact_usd": 1_000_000}}
    incident = await agents.done(RESPONSE, "POST", "/incidents", body)
    path = f"/incidents/{incident['id']}/containment"
    answer = await agents.ask(RESPONSE, "POST", path, {})
    text = f"a containment of risk {incident['risk']} without approval: {answer.status}, not 403"
    return [text] * (answer.status != 403)


async def _untouched(
    agents: Agents, workflow: str, approval: str, status: str, more: Sequence[str] = ()
) -> Finding:
    """Return a finding: the approval is final, and its containment was not executed."""
    late = await agents.ask(SUPERVISOR, "POST", f"/approvals/{approval}", {"decision": "approve"})
    path = f"/workflows/{workflow}"
    tasks = by_id(await agents.until(SUPERVISOR, path, ended, seconds=WORK_SECONDS))
    recorded = await agents.done(SUPERVISOR, "GET", f"/approvals/{approval}")
    opened: dict[str, Any] = (tasks.get("open-1") or {}).get("result") or {}
    incident = await agents.done(RESPONSE, "GET", f"/incidents/{opened.get('id')}")
    intents = await agents.done(RESPONSE, "GET", f"/incidents/{incident['id']}/intents")
    contain = tasks.get("contain-1", {})
    problems = [*more]
    problems += [f"a later approval was answered with {late.status}, not 409"] * (
        late.status != 409
    )
    problems += [f"the approval is {recorded['status']}"] * (recorded["status"] != status)
    problems += [f"its task is {contain.get('status')}"] * (contain.get("status") != status)
    problems += [f"the incident is {incident['status']}"] * (incident["status"] != "open")
    problems += [f"{len(intents['items'])} actions were executed"] * bool(intents["items"])
    return judged(
        problems,
        Evidence("approvals", 1, 1),
        observed=f"{status}, final, and nothing was executed",
        expected=f"{status}; a later approval is refused; nothing is executed",
    )


def _check(name: str, title: str, run: Any, why: str) -> Check:
    return Check(
        id=f"integration.approval-{name}",
        title=title,
        run=drilled(name, run),
        severity=Severity.CRITICAL,
        reads=("POST /workflows", "POST /approvals/{id}", "GET /incidents/{id}/intents"),
        why=why,
        remedy="./acso logs --env ENV --agent supervisor",
        applies=needs(SUPERVISOR, "threat-hunter", RESPONSE),
        seconds=100,
    )


CHECKS = (
    _check(
        "granted",
        "a risky task waits for a person",
        granted,
        "a risky task that does not wait is done without anybody's consent",
    ),
    _check(
        "denied",
        "a denied task is not done",
        denied,
        "an action that a person denied must never be executed",
    ),
    _check(
        "timeout",
        "a task that nobody approved in time is not done",
        timed_out,
        "an approval that comes too late must not start an action that nobody expects any more",
    ),
)
