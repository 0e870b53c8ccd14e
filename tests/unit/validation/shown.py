"""What breaks each check, and where it was shown: the tables in docs/validation.md.

`python -m tests.unit.validation.shown docs/validation.md` writes them.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from tests.unit.validation.production.operations import BREAKS
from validation import reference

FAKES = "answers of AWS's documented shape"
EMBEDDED = "the embedded AWS"
PAIRS = "made pairs of releases"
AGENTS = "the agents themselves"
#: What test_smoke.py breaks.
SMOKE = {
    "smoke.cluster": ("no cluster",),
    "smoke.services": ("a service deleted", "a service scaled to 0"),
    "smoke.images": (
        "a task of another revision",
        "a tag for a digest",
        "another digest",
        "a digest of no release",
    ),
    "smoke.logs": ("tasks that write nothing", "no log group"),
    "smoke.bedrock": ("a role that may not ask the model",),
    "smoke.health": ("an agent of another version", "HTTP 503"),
    "smoke.ready": ("an agent that is not ready",),
}
#: What test_integration.py breaks in the agents, all five in one process.
INTEGRATION = {
    "integration.goal": ("a supervisor that does no task", "HTTP 500"),
    "integration.attack": (
        "a supervisor that does no task",
        "a finding with another technique",
        "no recorded action",
    ),
    "integration.ticket": ("no team", "no due time"),
    "integration.costs": ("no anomaly",),
    "integration.calls": ("an agent that cannot be reached", "a person's token"),
    "integration.approval-granted": ("a task that does not wait",),
    "integration.approval-denied": ("an action after a denial", "a second decision"),
    "integration.approval-timeout": ("a containment without approval",),
    "integration.alarm": ("an alarm without its notification",),
    "integration.authentication": (
        "an agent that answers anybody",
        "an agent that approves",
        "a retired token that is accepted",
    ),
    "integration.task-role": ("a role that may pass roles",),
}
#: What tests/unit/validation/regression breaks in pairs of releases that are made.
REGRESSION = {
    "regression.latency": ("a fifth more latency of one agent",),
    "regression.errors": ("two percent more errors of one agent",),
    "regression.memory": ("a fifth more memory of one agent",),
}
#: What tests/local/releases breaks in the embedded AWS, by its calls or by agents that work badly.
ON_EMBEDDED = (
    "encryption.keys",
    "iam.attached-policies",
    "monitoring.actions",
    "monitoring.coverage",
    "monitoring.logs-retention",
    "network.open-ports",
    "performance.cpu",
    "performance.errors",
    "performance.latency",
    "performance.memory",
    "recovery.point-in-time",
)


def shown() -> dict[str, reference.Shown]:
    """Return what breaks each check, and where it was shown, by its id."""
    known = {**SMOKE, **INTEGRATION, **REGRESSION}
    found: dict[str, list[str]] = {check: list(what) for check, what in known.items()}
    for case in BREAKS:
        found.setdefault(case.check, []).append(case.what)
    return {
        check: reference.Shown(what=tuple(what), where=tuple(_places(check)))
        for check, what in found.items()
    }


def _places(check: str) -> Iterator[str]:
    if check in INTEGRATION or check == "smoke.bedrock":
        yield AGENTS
        return
    yield PAIRS if check in REGRESSION else FAKES
    if check in ON_EMBEDDED or check in REGRESSION:
        yield EMBEDDED


if __name__ == "__main__":
    path = Path(sys.argv[1])
    text = reference.document(path.read_text(encoding="utf-8"), shown())
    path.write_text(text, encoding="utf-8")
