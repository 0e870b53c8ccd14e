"""Releases: planned, rolled out, watched in seconds, and undone as a whole when they fail."""

from ci.release.deploy import deploy
from ci.release.findings import Finding, Verified
from ci.release.history import Listing, Whole, history, recall
from ci.release.lock import refuse_if_held
from ci.release.logs import Line, Query
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
from ci.release.notify import notifying
from ci.release.oneoff import Ran, run_task
from ci.release.outcome import Ending, Outcome, ServiceResult
from ci.release.plan import Action, Change, Plan, current, plan
from ci.release.promise import Facts
from ci.release.promote import Promotion, promotion
from ci.release.reasons import TaskFailure
from ci.release.rollback import rollback
from ci.release.status import ServiceStatus, Status, status
from ci.release.stopping import Manner, OnCancel, Stop
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
