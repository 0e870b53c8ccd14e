"""Releases: planned, rolled out, watched in seconds, and undone as a whole when they fail."""

from ci.release.deploy import deploy
from ci.release.model import (
    Clock,
    Image,
    Notification,
    Outputs,
    ReleaseContext,
    Report,
    Request,
    Say,
    ServiceRevision,
    Validate,
)
from ci.release.observe.failures import TaskFailure
from ci.release.observe.logs import Line, Query
from ci.release.observe.notifications import notifying
from ci.release.observe.status import ServiceStatus, Status, status
from ci.release.options import OnCancel, ReleaseOptions, Stop
from ci.release.outcome import Ending, Outcome, ServiceResult
from ci.release.plan.changes import Action, Change, Plan, current, plan
from ci.release.plan.saved import Facts
from ci.release.prerequisites.findings import Finding, Verification
from ci.release.promote import Promotion, promotion
from ci.release.records.by_source import release_of
from ci.release.records.history import ReleaseDetail, ReleaseList, history, release_detail
from ci.release.records.lock import refuse_if_held
from ci.release.rollback import rollback
from ci.release.run_task import TaskResult, run_task
from ci.release.unlock import UnlockResult, unlock
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
    "Notification",
    "OnCancel",
    "Outcome",
    "Outputs",
    "Plan",
    "Promotion",
    "Query",
    "ReleaseContext",
    "ReleaseDetail",
    "ReleaseList",
    "ReleaseOptions",
    "Report",
    "Request",
    "Say",
    "ServiceResult",
    "ServiceRevision",
    "ServiceStatus",
    "Status",
    "Stop",
    "TaskFailure",
    "TaskResult",
    "UnlockResult",
    "Validate",
    "Verification",
    "current",
    "deploy",
    "history",
    "notifying",
    "plan",
    "promotion",
    "refuse_if_held",
    "release_detail",
    "release_of",
    "rollback",
    "run_task",
    "running",
    "status",
    "unlock",
    "verify",
]
