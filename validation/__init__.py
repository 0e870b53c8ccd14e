"""Checks of a running environment: `python -m validation smoke --environment development`.

A suite's result is passed, failed, or undecided: what could not be examined is never a pass.
"""

from validation.model import (
    Check,
    CheckContext,
    Evidence,
    Finding,
    Result,
    Severity,
    Status,
)
from validation.report import Report, Verdict
from validation.runner import run, run_checks
from validation.suites import SUITES

__all__ = [
    "SUITES",
    "Check",
    "CheckContext",
    "Evidence",
    "Finding",
    "Report",
    "Result",
    "Severity",
    "Status",
    "Verdict",
    "run",
    "run_checks",
]
