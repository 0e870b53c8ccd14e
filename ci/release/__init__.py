"""Releases: plan, roll out and watch all services; roll all of them back if one fails."""

from ci.release.deploy import deploy
from ci.release.model import (
    Clock,
    Image,
    Infrastructure,
    Notification,
    Outputs,
    ReleaseContext,
    Report,
    Request,
    Say,
    ServiceRevision,
    Validate,
)
from ci.release.notifications import notifying
from ci.release.observe import logs
from ci.release.observe.failures import TaskFailure
from ci.release.observe.logs import Line, Query
from ci.release.observe.status import ServiceStatus, Status, status
from ci.release.options import OnCancel, Relate, Relation, ReleaseOptions, Stop
from ci.release.outcome import Outcome, OutcomeKind, ServiceResult
from ci.release.plan.changes import Action, Change, Plan, current_services, plan, services_of
from ci.release.plan.saved import Facts
from ci.release.prerequisites.findings import Finding, Verification
from ci.release.probing import Prober, ProberSettings, probing_inside
from ci.release.promote import Promotion, promotion
from ci.release.records.ancestry import require_contained, would_undo
from ci.release.records.by_source import release_of
from ci.release.records.history import ReleaseDetail, ReleaseList, history, release_detail
from ci.release.records.lock import refuse_if_locked
from ci.release.rollback import rollback
from ci.release.run_task import TaskResult, run_task
from ci.release.tokens import RotationResult, TokenResult, rotate_tokens, token
from ci.release.unlock import UnlockResult, unlock
from ci.release.verify import running_images, verify

__all__ = [
    "Action",
    "Change",
    "Clock",
    "Facts",
    "Finding",
    "Image",
    "Infrastructure",
    "Line",
    "Notification",
    "OnCancel",
    "Outcome",
    "OutcomeKind",
    "Outputs",
    "Plan",
    "Prober",
    "ProberSettings",
    "Promotion",
    "Query",
    "Relate",
    "Relation",
    "ReleaseContext",
    "ReleaseDetail",
    "ReleaseList",
    "ReleaseOptions",
    "Report",
    "Request",
    "RotationResult",
    "Say",
    "ServiceResult",
    "ServiceRevision",
    "ServiceStatus",
    "Status",
    "Stop",
    "TaskFailure",
    "TaskResult",
    "TokenResult",
    "UnlockResult",
    "Validate",
    "Verification",
    "current_services",
    "deploy",
    "history",
    "logs",
    "notifying",
    "plan",
    "probing_inside",
    "promotion",
    "refuse_if_locked",
    "release_detail",
    "release_of",
    "require_contained",
    "rollback",
    "rotate_tokens",
    "run_task",
    "running_images",
    "services_of",
    "status",
    "token",
    "unlock",
    "verify",
    "would_undo",
]
