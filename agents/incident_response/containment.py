"""The changes of an incident while its steps are executed and undone; pure."""

from collections.abc import Sequence
from datetime import datetime

from agents.incident_response.logic import Action, Assessment
from agents.incident_response.state import Entry, Incident, Step, StepStatus

#: Actions that can be undone. What a terminated process or a stopped service has lost is lost.
REVERSIBLE: frozenset[Action] = frozenset(
    {
        "isolate_host",
        "quarantine_file",
        "disable_user_account",
        "block_ip",
        "network_segmentation",
        "backup_isolation",
    }
)
#: Lines of a timeline: the newest are kept.
MAX_LINES = 500
#: Systems whose steps are planned; each has a step for every action.
MAX_SYSTEMS = 20


def steps(assessment: Assessment, systems: Sequence[str]) -> tuple[Step, ...]:
    """Return the steps of a strategy: each action on each system."""
    targets = systems[:MAX_SYSTEMS] or ("unknown",)
    return tuple(
        Step(
            id=f"{number}-{place}",
            action=action,
            target=target,
            reversible=action in REVERSIBLE,
        )
        for number, action in enumerate(assessment.actions, 1)
        for place, target in enumerate(targets, 1)
    )


def next_step(incident: Incident) -> Step | None:
    """Return the step to execute next: one that a process began, or the first planned one."""
    open_ = [step for step in incident.steps if step.status in ("started", "planned")]
    return next((step for step in open_ if step.status == "started"), next(iter(open_), None))


def next_undo(incident: Incident) -> Step | None:
    """Return the step to undo next: the last reversible one that was done."""
    done = [step for step in incident.steps if step.status == "done" and step.reversible]
    return done[-1] if done else None


def begun(incident: Incident, who: str, approval: str, now: datetime) -> Incident:
    """Return an incident whose containment begins, or goes on with the steps that failed."""
    if incident.status == "containing" and any(step.status == "failed" for step in incident.steps):
        steps_ = tuple(
            step.model_copy(update={"status": "planned"}) if step.status == "failed" else step
            for step in incident.steps
        )
        changed = incident.model_copy(update={"steps": steps_})
        return noted(changed, who, "containment goes on: failed steps are tried again", now)
    if incident.status != "open":
        return incident
    by = f"approved by {approval}" if approval else "no approval needed"
    changed = incident.model_copy(update={"status": "containing", "approval": approval})
    return noted(changed, who, f"containment begins: {incident.strategy}, {by}", now)


def marked(
    incident: Incident, id_: str, status: StepStatus, who: str, now: datetime, note: str = ""
) -> Incident:
    """Return an incident with a step in a state, and a line about it; unchanged if it was."""
    step = next(step for step in incident.steps if step.id == id_)
    if step.status == status:
        return incident
    changed = step.model_copy(update={"status": status, "note": note})
    steps_ = tuple(changed if each.id == id_ else each for each in incident.steps)
    line = f"{step.action} on {step.target}: {status}{f', {note}' if note else ''}"
    return noted(incident.model_copy(update={"steps": steps_}), who, line, now)


def ended(incident: Incident, who: str, now: datetime) -> Incident:
    """Return an incident after its last step: contained, unless a step has failed."""
    if incident.status != "containing" or next_step(incident) is not None:
        return incident
    if any(step.status == "failed" for step in incident.steps):
        return incident
    return noted(incident.model_copy(update={"status": "contained"}), who, "contained", now)


def reopened(incident: Incident, who: str, now: datetime) -> Incident:
    """Return an incident whose containment is undone: its undone steps are planned again."""
    steps_ = tuple(
        step.model_copy(update={"status": "planned"}) if step.status == "undone" else step
        for step in incident.steps
    )
    if incident.status == "open":
        return incident
    changes = {"status": "open", "approval": "", "steps": steps_, "undone": incident.undone + 1}
    changed = incident.model_copy(update=changes)
    return noted(changed, who, "containment undone", now)


def resolved(incident: Incident, who: str, reason: str, now: datetime) -> Incident:
    """Return a resolved incident; unchanged if it was."""
    if incident.status == "resolved":
        return incident
    changed = incident.model_copy(update={"status": "resolved"})
    return noted(changed, who, f"resolved: {reason}", now)


def noted(incident: Incident, who: str, what: str, now: datetime) -> Incident:
    """Return an incident with one more line in its timeline."""
    lines = (*incident.timeline, Entry(time=now, who=who, what=what))
    return incident.model_copy(update={"timeline": lines[-MAX_LINES:]})


def markdown(incident: Incident) -> str:
    """Return the report of an incident for people."""
    systems = ", ".join(map(_plain, incident.systems)) or "none named"
    factors = "\n".join(f"- {factor.reason}: +{factor.adds:g}" for factor in incident.factors)
    rows = "\n".join(
        f"| {step.action} | {_plain(step.target)} | {step.status} |"
        f" {'yes' if step.reversible else 'no'} |"
        for step in incident.steps
    )
    lines = "\n".join(
        f"- {entry.time.isoformat(timespec='seconds')} {_plain(entry.who)}: {_plain(entry.what)}"
        for entry in incident.timeline
    )
    return (
        f"# Incident {incident.id}\n\n"
        f"- Type: {incident.type}, severity {incident.severity}, status {incident.status}\n"
        f"- Opened: {incident.opened.isoformat(timespec='seconds')}\n"
        f"- Finding: {incident.finding or 'none'}\n"
        f"- Systems: {systems}\n"
        f"- Risk: {incident.risk:g} ({incident.level}); approval: {incident.approval or 'none'}\n\n"
        f"## Reasons for the risk\n\n{factors}\n\n"
        f"## Steps\n\n| action | system | status | reversible |\n|---|---|---|---|\n{rows}\n\n"
        f"## Timeline\n\n{lines}\n"
    )


def _plain(text: str) -> str:
    """Return text of others on one line, without what Markdown or HTML would interpret."""
    return "".join(
        f"\\{char}" if char in "\\`*_[]<>|#" else char if char.isprintable() else " "
        for char in text
    )
