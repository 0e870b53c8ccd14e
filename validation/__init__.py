"""Checks of a running environment: `python -m validation smoke --environment development`."""

from validation.model import Check, CheckContext, Finding, Report, Result, Status
from validation.runner import run, run_checks
from validation.suites import SUITES

__all__ = [
    "SUITES",
    "Check",
    "CheckContext",
    "Finding",
    "Report",
    "Result",
    "Status",
    "run",
    "run_checks",
]
