"""Releases: planned, rolled out, watched in seconds, and undone as a whole when they fail."""

from ci.release.deploy import deploy
from ci.release.model import (
    Clock,
    Image,
    Notice,
    Outputs,
    Place,
    Report,
    Request,
    Run,
    Say,
    Validate,
)
from ci.release.observe.failures import TaskFailure
from ci.release.observe.logs import Line, Query
from ci.release.observe.notifications import notifying
from ci.release.observe.status import ServiceStatus, Status, status
from ci.release.options import Manner, OnCancel, Stop
from ci.release.outcome import Ending, Outcome, ServiceResult
from ci.release.plan.changes import Action, Change, Plan, current, plan
from ci.release.plan.saved import Facts
from ci.release.prerequisites.findings import Finding, Verified
from ci.release.promote import Promotion, promotion
from ci.release.records.history import Listing, Whole, history, recall
from ci.release.records.lock import refuse_if_held
from ci.release.rollback import rollback
from ci.release.run_task import Ran, run_task
from ci.release.unlock import Unlocked, unlock
from ci.release.verify import running, verify

__all__ = [
    "Action",
    "Change",
    "Clock",
    "Ending",
    "Facts",
    "Finding",
    "Image",
    "Line",
    "Listing",
    "Manner",
    "Notice",
    "OnCancel",
    "Outcome",
    "Outputs",
    "Place",
    "Plan",
    "Promotion",
    "Query",
    "Ran",
    "Report",
    "Request",
    "Run",
    "Say",
    "ServiceResult",
    "ServiceStatus",
    "Status",
    "Stop",
    "TaskFailure",
    "Unlocked",
    "Validate",
    "Verified",
    "Whole",
    "current",
    "deploy",
    "history",
    "notifying",
    "plan",
    "promotion",
    "recall",
    "refuse_if_held",
    "rollback",
    "run_task",
    "running",
    "status",
    "unlock",
    "verify",
]
