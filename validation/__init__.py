"""Checks of a running environment: `python -m validation smoke --environment development`."""

from validation.model import Check, Finding, Report, Result, Status, Subject
from validation.runner import run, run_checks
from validation.suites import SUITES

__all__ = [
    "SUITES",
    "Check",
    "Finding",
    "Report",
    "Result",
    "Status",
    "Subject",
    "run",
    "run_checks",
]
