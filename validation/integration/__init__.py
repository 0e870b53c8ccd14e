"""Integration checks: real work through the load balancer, as drills that leave nothing behind."""

from validation.integration import access, alarm, approvals, work
from validation.model import Check

CHECKS: tuple[Check, ...] = (
    *work.CHECKS,
    *approvals.CHECKS,
    *alarm.CHECKS,
    *access.CHECKS,
)
