"""Checks that the agents do their work: goals, attacks, tickets, costs, and calls of each other."""

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from ci.common.concurrency import parallel
from validation.client import Agents, WrongAnswerError, agents_of, drilled
from validation.model import Check, CheckContext, Evidence, Finding, Severity, judged

WORK_SECONDS = 40.0  # for a workflow; a process that takes over needs a while
#: Which agent does which operation of a workflow (docs/agents.md).
AGENTS = {
    "hunt": "threat-hunter",
    "respond": "supervisor",
    "open": "incident-response",
    "contain": "incident-response",
    "report": "incident-response",
    "ticket": "service-orchestration",
    "deliver": "service-orchestration",
    "finance": "financial-intelligence",
}
SUPERVISOR, HUNTER = "supervisor", "threat-hunter"
RESPONSE, DESK, FINANCE = "incident-response", "service-orchestration", "financial-intelligence"


def needs(*names: str) -> Any:
    """Return the rule of a check that needs agents of these names."""

    def rule(context: CheckContext) -> str:
        known = {agent.name for agent in context.config.agents}
        missing = [name for name in names if name not in known]
        return f"the environment has no {missing[0]}" if missing else ""

    return rule


def attack(network: str = "203.0.113") -> tuple[str, list[dict[str, Any]]]:
    """Return an address for documentation (RFC 5737), and failed logins from it."""
    source = f"{network}.{secrets.randbelow(254) + 1}"
    began = datetime.now(UTC) - timedelta(minutes=5)
    events = [
        {
            "event": "authentication_failure",
            "source": source,
            "time": (began + timedelta(seconds=10 * number)).isoformat(),
        }
        for number in range(6)
    ]
    return source, events


def ended(workflow: Any) -> bool:
    """Return whether a workflow is in a final state."""
    return workflow.get("status") in ("completed", "partial", "failed")


async def goal(_: CheckContext, agents: Agents) -> Finding:
    """Let a goal in words be decomposed, and look at what the agents did."""
    events = [{"event": "login", "source": "198.51.100.77", "time": datetime.now(UTC).isoformat()}]
    words = "Look for threats, plan the maintenance of the service, and review the costs"
    started = await agents.done(SUPERVISOR, "POST", "/workflows", {"goal": words, "events": events})
    path = f"/workflows/{started['id']}"
    found = await agents.until(SUPERVISOR, path, ended, seconds=WORK_SECONDS)
    tasks = found["tasks"]
    done = [task for task in tasks if task["status"] == "completed"]
    who = {AGENTS.get(task["operation"], "?") for task in done} - {SUPERVISOR}
    problems = [
        f"task {task['id']} is {task['status']}: {task['error']}"
        for task in tasks
        if task not in done
    ]
    problems += [f"only {', '.join(sorted(who)) or 'nobody'} did anything"] * (len(who) < 3)
    return judged(
        problems,
        Evidence("tasks", len(done), len(tasks)),
        observed=f"{len(tasks)} tasks by {', '.join(sorted(who))}",
        expected="every task completed, by three agents or more",
    )


async def contained(_: CheckContext, agents: Agents) -> Finding:
    """Let a brute-force attack be found, in a log too, and after approval contained."""
    overlooked = await _overlooked(agents)
    source, events = attack()
    id_, approval = await asked(agents, events)
    decision = {"decision": "approve", "comment": "a drill"}
    await agents.done(SUPERVISOR, "POST", f"/approvals/{approval['id']}", decision)
    path = f"/workflows/{id_}"
    tasks = by_id(await agents.until(SUPERVISOR, path, ended, seconds=WORK_SECONDS))
    opened = (tasks.get("open-1") or {}).get("result") or {}
    incident = await agents.done(RESPONSE, "GET", f"/incidents/{opened.get('id')}")
    finding = await agents.done(HUNTER, "GET", f"/findings/{incident['finding']}")
    intents = await agents.done(RESPONSE, "GET", f"/incidents/{incident['id']}/intents")
    actions = [item["action"] for item in intents["items"]]
    wanted = {
        "rule": (finding["rule"], "failed_login_brute_force"),
        "technique": (finding["technique"], "T1110"),
        "source": (finding["source"], source),
        "incident": (incident["status"], "contained"),
        "approval": (incident["approval"], approval["id"]),
    }
    problems = [
        f"{name} is {seen!r}, not {want!r}" for name, (seen, want) in wanted.items() if seen != want
    ]
    problems += [*overlooked, *["no action was recorded"] * (not actions)]
    problems += [
        f"task {task['id']} is {task['status']}: {task['error']}"
        for task in tasks.values()
        if task["status"] != "completed"
    ]
    return judged(
        problems,
        Evidence("actions", len(actions), len(actions)),
        observed=f"attack of {source}: finding, incident, approval, {', '.join(actions)}",
        expected="a finding T1110, an incident that is contained after approval",
    )


async def _overlooked(agents: Agents) -> list[str]:
    """Send a log with an attack; return that it was not found, if it was not."""
    source, events = attack("198.51.100")
    lines = "\n".join(map(json.dumps, events))
    found = (await agents.done(HUNTER, "POST", "/events", lines)).get("findings") or []
    rules = [item["rule"] for item in found if item["source"] == source]
    text = f"{len(events)} failed logins in a log are no finding"
    return [text] * ("failed_login_brute_force" not in rules)


async def asked(agents: Agents, events: Any, **more: Any) -> tuple[str, dict[str, Any]]:
    """Start a workflow about an attack; return its id, and the approval that it asks for."""
    body = {"goal": "Look into the breach", "events": events, "require_approval": True, **more}
    started = await agents.done(SUPERVISOR, "POST", "/workflows", body)
    return str(started["id"]), await approval_of(agents, str(started["id"]))


async def approval_of(agents: Agents, workflow: str) -> dict[str, Any]:
    """Wait until a workflow asks a person, and return what it asks."""

    def asks(found: Any) -> bool:
        return any(task["approval"] for task in found["tasks"]) or ended(found)

    path = f"/workflows/{workflow}"
    found = await agents.until(SUPERVISOR, path, asks, seconds=WORK_SECONDS)
    ids = [task["approval"] for task in found["tasks"] if task["approval"]]
    pending = (await agents.done(SUPERVISOR, "GET", "/approvals?limit=100"))["items"]
    mine = [dict(item) for item in pending if item["id"] in ids]
    if not mine:
        message = f"workflow {workflow} asked nobody to approve its risky task"
        raise WrongAnswerError(message)
    return mine[0]


def by_id(workflow: Any) -> dict[str, Any]:
    """Return a workflow's tasks by their ids."""
    return {task["id"]: task for task in workflow["tasks"]}


async def ticket(_: CheckContext, agents: Agents) -> Finding:
    """Let a ticket be triaged."""
    body = {"title": "The website is down", "client": "business", "zone": "Europe/Berlin"}
    found = await agents.done(DESK, "POST", "/tickets", body)
    times = [
        datetime.fromisoformat(found[key])
        for key in ("opened", "first_response_due", "resolution_due")
        if found.get(key)
    ]
    problems = [
        f"it has no {key}" for key in ("category", "priority", "team") if not found.get(key)
    ]
    problems += ["its clocks are wrong: " + ", ".join(map(str, times))] * (
        len(times) < 3 or not times[0] < times[1] < times[2]
    )
    again = await agents.done(DESK, "GET", f"/tickets/{found['id']}")
    problems += ["it is not stored"] * (again["id"] != found["id"])
    return judged(
        problems,
        Evidence("tickets", 1, 1),
        observed=f"{found.get('category')}, {found.get('priority')}, {found.get('team')}, "
        f"first response due {found.get('first_response_due')}",
        expected="category, priority, team, and both clocks in the future",
    )


async def costs(_: CheckContext, agents: Agents) -> Finding:
    """Let costs with one unusual day be analysed, in the currency code for tests (ISO 4217)."""
    name, today = f"drill-{secrets.token_hex(4)}", datetime.now(UTC).date()
    first = today.replace(day=1) - timedelta(days=40)
    days = [first + timedelta(days=number) for number in range((today - first).days + 1)]
    unusual = days[-1]
    records = [
        {
            "date": day.isoformat(),
            "service": name,
            "account": name,
            "currency": "XTS",
            "cost": 1000 if day == unusual else 10 + day.day % 3,
        }
        for day in days
    ]
    stored = await agents.done(FINANCE, "POST", "/costs", records)
    kept = stored.get("records")
    path = f"/anomalies?month={today:%Y-%m}&currency=XTS"
    found = (await agents.done(FINANCE, "GET", path)).get("items") or []
    mine = [item for item in found if name in str(item)]
    hit = [item for item in mine if unusual.isoformat() in str(item)]
    return judged(
        [
            *[f"{unusual} is not among {len(mine)} anomalies"] * (not hit),
            *[f"{kept} of {len(records)} records were stored"] * (kept != len(records)),
        ],
        Evidence("days", len(days), len(days)),
        observed=f"{unusual} is unusual, of {len(days)} days",
        expected="the planted day is found",
    )


async def calls(context: CheckContext) -> Finding:
    """Let each agent ask each agent that it calls as whom it is known there."""
    agents = await agents_of(context)
    pairs = [(agent.name, other) for agent in context.config.agents for other in agent.calls]

    async def one(pair: tuple[str, str]) -> str:
        caller, other = pair
        answer = await agents.ask(caller, "GET", f"/peers/{other}")
        if answer.status != 200:
            return f"{caller} cannot call {other}: {answer}"
        role = answer.body.get("role")
        return "" if role == "agent" else f"{other} takes {caller} for a {role}"

    problems = [text for text in await parallel(one, pairs) if text]
    return judged(
        problems,
        Evidence("calls", len(pairs), len(pairs)),
        observed=f"{len(pairs)} of {len(pairs)} pairs of agents reach each other",
        expected="every agent reaches every agent that it calls, with the agents' token",
    )


def _has_calls(context: CheckContext) -> str:
    return "" if any(agent.calls for agent in context.config.agents) else "no agent calls another"


CHECKS = (
    Check(
        id="integration.goal",
        title="a goal is done by several agents",
        run=drilled("goal", goal),
        severity=Severity.CRITICAL,
        reads=("POST /workflows", "GET /workflows/{id}"),
        why="a supervisor that plans nothing leaves every goal undone",
        remedy="./acso logs --env ENV --agent supervisor",
        applies=needs(SUPERVISOR, HUNTER, DESK, FINANCE),
        seconds=60,
    ),
    Check(
        id="integration.attack",
        title="an attack is found and contained",
        run=drilled("attack", contained),
        severity=Severity.CRITICAL,
        reads=(
            "POST /events",
            "POST /workflows",
            "POST /approvals/{id}",
            "GET /findings/{id}",
            "GET /incidents/{id}",
        ),
        why="an attack that nobody finds or contains is the failure that the system exists against",
        remedy="the task that is not completed names the agent and the reason",
        applies=needs(SUPERVISOR, HUNTER, RESPONSE),
        seconds=100,
    ),
    Check(
        id="integration.ticket",
        title="a ticket is triaged with its clocks",
        run=drilled("ticket", ticket),
        severity=Severity.HIGH,
        reads=("POST /tickets", "GET /tickets/{id}"),
        why="a ticket without team or clock is one that nobody answers in time",
        remedy="./acso logs --env ENV --agent service-orchestration",
        applies=needs(DESK),
    ),
    Check(
        id="integration.costs",
        title="an unusual cost is found",
        run=drilled("costs", costs),
        severity=Severity.MEDIUM,
        reads=("POST /costs", "GET /anomalies"),
        why="costs that run away are seen on the bill only",
        remedy="./acso logs --env ENV --agent financial-intelligence",
        applies=needs(FINANCE),
    ),
    Check(
        id="integration.calls",
        title="the agents reach each other",
        run=calls,
        severity=Severity.CRITICAL,
        reads=("GET /peers/{agent}",),
        why="a security group, address or token that is wrong stops all common work",
        remedy="the answer says what failed: the address, the token, or the agent called",
        applies=_has_calls,
    ),
)
