"""Checks of a running environment: `python -m validation smoke --environment development`."""

from validation.model import Check, Finding, Report, Result, Status, Subject
from validation.runner import judge, run
from validation.suites import SUITES

__all__ = [
    "SUITES",
    "Check",
    "Finding",
    "Report",
    "Result",
    "Status",
    "Subject",
    "judge",
    "run",
]
