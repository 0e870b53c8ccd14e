"""Faults of the agents' behaviour: one answer each that differs from what docs/agents.md says."""

from collections.abc import Mapping
from typing import Any, Literal

from agents.supervisor.logic import Operation
from agents.supervisor.state import Task, TaskStatus
from tests.validation.faults.fault import Fault, InAgent

SUPERVISOR, HUNTER, RESPONSE = "supervisor", "threat-hunter", "incident-response"
TICKETS, COSTS = "service-orchestration", "financial-intelligence"
WORKFLOW, APPROVAL = "/workflows/{workflow_id}", "/approvals/{approval_id}"
CONTAINMENT = "/incidents/{incident_id}/containment"
NOTHING: Mapping[str, Any] = {}


def _task(id_: str, operation: Operation, status: TaskStatus, error: str = "") -> dict[str, Any]:
    return Task(id=id_, operation=operation, status=status, error=error).model_dump(mode="json")


def _fault(id_: str, wrong: str, planted: InAgent, *found_by: str) -> Fault:
    return Fault(id=id_, wrong=wrong, found_by=found_by, planted=planted)


def _answer(
    agent: str, path: str, method: Literal["GET", "POST", "PUT"] = "GET", **fields: Any
) -> InAgent:
    return InAgent(agent=agent, method=method, path=path, fields=fields)


def _accepted(
    caller: Literal["none", "wrong", "revoked", "agent"], path: str, when: str = "always"
) -> InAgent:
    return InAgent(
        agent=SUPERVISOR,
        method="POST" if "approval" in path else "GET",
        path=path,
        status=200,
        fields=NOTHING,
        caller=caller,
        when=when,
    )


GOALS = (
    _fault(
        "goal-without-tasks",
        "A goal is accepted and completed, and no task was done for it.",
        _answer(SUPERVISOR, WORKFLOW, status="completed", tasks=[]),
        "integration.goal",
    ),
    _fault(
        "goal-done-by-one-agent",
        "A goal for several agents becomes tasks of one agent alone.",
        _answer(
            SUPERVISOR, WORKFLOW, status="completed", tasks=[_task("1", "ticket", "completed")]
        ),
        "integration.goal",
    ),
    _fault(
        "goal-partly-failed",
        "A workflow ends as partial: the task of financial intelligence failed.",
        _answer(
            SUPERVISOR,
            WORKFLOW,
            status="partial",
            tasks=[
                _task("1", "hunt", "completed"),
                _task("2", "finance", "failed", "503 Service Unavailable"),
            ],
        ),
        "integration.goal",
        "integration.calls",
    ),
    _fault(
        "goal-never-ends",
        "A workflow stays running, and its tasks wait for ever.",
        _answer(
            SUPERVISOR,
            WORKFLOW,
            status="running",
            finished=None,
            tasks=[_task("1", "hunt", "waiting")],
        ),
        "integration.goal",
    ),
)
ATTACKS = (
    _fault(
        "attack-not-found",
        "Five failed logins of one source within a minute are no finding.",
        _answer(HUNTER, "/events", "POST", findings=[]),
        "integration.attack",
    ),
    _fault(
        "attack-contained-without-approval",
        "A containment of risk 0.9 is executed without an approval; it has to be refused with 403.",
        InAgent(
            agent=RESPONSE,
            method="POST",
            path=CONTAINMENT,
            status=200,
            fields={"status": "contained", "approval": ""},
            when="the risk is 0.8 or more and no approval is given",
        ),
        "integration.attack",
        "integration.approval-denied",
    ),
    _fault(
        "attack-never-contained",
        "After the approval, the incident stays open.",
        _answer(RESPONSE, "/incidents/{incident_id}", status="open"),
        "integration.attack",
    ),
    _fault(
        "attack-contained-without-intents",
        "The incident is contained, and no action is recorded for it.",
        _answer(RESPONSE, "/incidents/{incident_id}/intents", items=[]),
        "integration.attack",
    ),
)
WORK = (
    _fault(
        "ticket-without-sla",
        "A ticket is triaged without the deadlines of its SLA.",
        _answer(TICKETS, "/tickets", "POST", first_response_due=None, resolution_due=None),
        "integration.ticket",
    ),
    _fault(
        "ticket-without-team",
        "A ticket has no team.",
        _answer(TICKETS, "/tickets", "POST", team=""),
        "integration.ticket",
    ),
    _fault(
        "ticket-with-past-deadline",
        "The resolution of a new ticket is due in the year 2020.",
        _answer(TICKETS, "/tickets", "POST", resolution_due="2020-01-01T00:00:00Z"),
        "integration.ticket",
    ),
    _fault(
        "anomaly-not-found",
        "A day of ten times the usual costs is not among the anomalies.",
        _answer(COSTS, "/anomalies", items=[]),
        "integration.costs",
    ),
    _fault(
        "costs-not-stored",
        "Cost records are answered with success, and all of them were dropped as invalid.",
        _answer(COSTS, "/costs", "POST", records=0, services=0, months=[], invalid=60),
        "integration.costs",
    ),
    _fault(
        "anomaly-of-another-service",
        "The anomaly is found in a service that did not have it.",
        _answer(
            COSTS,
            "/anomalies",
            items=[
                {
                    "service": "AmazonS3",
                    "day": "2026-11-20",
                    "cost": 120.0,
                    "expected": 12.0,
                    "score": 31.0,
                }
            ],
        ),
        "integration.costs",
    ),
    _fault(
        "agent-not-reached",
        "The supervisor cannot reach one of the agents that it calls.",
        _answer(
            SUPERVISOR,
            WORKFLOW,
            status="failed",
            tasks=[_task("1", "deliver", "failed", "ConnectError: All connection attempts failed")],
        ),
        "integration.calls",
    ),
    _fault(
        "peer-refuses-agents",
        "The threat hunter answers calls of agents with 401: it reads another secret.",
        InAgent(
            agent=HUNTER,
            method="POST",
            path="/hunts",
            status=401,
            fields={"status": 401, "title": "Unauthorized"},
            caller="agent",
        ),
        "integration.calls",
    ),
)
APPROVALS = (
    _fault(
        "approved-and-not-continued",
        "A workflow goes on waiting after its approval.",
        InAgent(
            agent=SUPERVISOR,
            method="GET",
            path=WORKFLOW,
            fields={"status": "waiting for approval", "finished": None},
            when="after the approval",
        ),
        "integration.approval-granted",
    ),
    _fault(
        "approval-not-asked",
        "A risky task is executed at once: no approval is requested.",
        _answer(SUPERVISOR, "/approvals", items=[]),
        "integration.approval-granted",
        "integration.approval-denied",
        "integration.approval-timeout",
    ),
    _fault(
        "executed-after-denial",
        "The containment is executed although a person denied it.",
        InAgent(
            agent=SUPERVISOR,
            method="GET",
            path=WORKFLOW,
            fields={"status": "completed", "tasks": [_task("1", "contain", "completed")]},
            when="after the denial",
        ),
        "integration.approval-denied",
    ),
    _fault(
        "denial-not-final",
        "An approval is granted after it was denied; it has to be a conflict (409).",
        InAgent(
            agent=SUPERVISOR,
            method="POST",
            path=APPROVAL,
            status=200,
            fields={"status": "approved"},
            when="after the denial",
        ),
        "integration.approval-denied",
    ),
    _fault(
        "deadline-ignored",
        "An approval is still pending after its deadline.",
        InAgent(
            agent=SUPERVISOR,
            method="GET",
            path=APPROVAL,
            fields={"status": "pending", "decided_by": "", "decided": None},
            when="after the deadline",
        ),
        "integration.approval-timeout",
    ),
    _fault(
        "approved-after-the-deadline",
        "A person approves after the deadline, which has to be a conflict (409).",
        InAgent(
            agent=SUPERVISOR,
            method="POST",
            path=APPROVAL,
            status=200,
            fields={"status": "approved"},
            when="after the deadline",
        ),
        "integration.approval-timeout",
    ),
    _fault(
        "approved-by-the-deadline",
        "The end of an approval's time counts as a yes.",
        InAgent(
            agent=SUPERVISOR,
            method="GET",
            path=APPROVAL,
            fields={"status": "approved", "decided_by": "deadline"},
            when="after the deadline",
        ),
        "integration.approval-timeout",
    ),
)
CALLERS = (
    _fault(
        "no-token-accepted",
        "Requests without a token are answered.",
        _accepted("none", "/workflows"),
        "integration.authentication",
    ),
    _fault(
        "any-token-accepted",
        "A made-up token is accepted.",
        _accepted("wrong", "/workflows"),
        "integration.authentication",
    ),
    _fault(
        "revoked-token-accepted",
        "The token of a revoked version is accepted minutes after rotate-tokens --revoke.",
        _accepted("revoked", "/workflows", "two minutes after the revocation"),
        "integration.authentication",
    ),
    _fault(
        "agent-approves",
        "An agent's token can approve.",
        _accepted("agent", APPROVAL),
        "integration.authentication",
    ),
    _fault(
        "rotated-token-refused",
        "The new token is refused after a rotation: the agent has cached the old one for good.",
        InAgent(
            agent=SUPERVISOR,
            method="GET",
            path="/workflows",
            status=401,
            fields={"status": 401, "title": "Unauthorized"},
            caller="rotated",
            when="two minutes after the rotation",
        ),
        "integration.authentication",
    ),
)
HEALTH = (
    _fault(
        "unhealthy-with-200",
        "An agent answers /health with 200, and says that it is unhealthy.",
        _answer(COSTS, "/health", status="unhealthy"),
        "smoke.health",
    ),
    _fault(
        "health-of-another-digest",
        "An agent answers /health with the digest of another image.",
        _answer(HUNTER, "/health", digest=f"sha256:{'f' * 64}"),
        "smoke.health",
    ),
    _fault(
        "not-ready",
        "An agent is alive and answers /ready with 503: its table cannot be reached.",
        InAgent(
            agent=TICKETS,
            method="GET",
            path="/ready",
            status=503,
            fields={"status": "not ready"},
        ),
        "smoke.ready",
    ),
    _fault(
        "bad-gateway",
        "The load balancer answers /ready of one agent with 502.",
        InAgent(agent=RESPONSE, method="GET", path="/ready", status=502, fields=NOTHING),
        "smoke.ready",
    ),
    _fault(
        "harmless-not-configured",
        "Harmless: an agent is ready, and a dependency that is not configured is listed as such.",
        _answer(
            TICKETS,
            "/ready",
            dependencies={
                "state table": {"status": "ok", "detail": ""},
                "model": {"status": "not configured", "detail": "ACSO_MODEL is not set"},
            },
        ),
    ),
    _fault(
        "harmless-note",
        "Harmless: a workflow has a note that the rules' plan was used in place of the model's.",
        _answer(SUPERVISOR, WORKFLOW, planned_by="rules", note="no valid answer within 8 seconds"),
    ),
)
FAULTS = (*GOALS, *ATTACKS, *WORK, *APPROVALS, *CALLERS, *HEALTH)
