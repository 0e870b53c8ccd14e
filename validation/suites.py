"""The suites of checks, by name."""

from collections.abc import Mapping

from validation import integration, production, regression, smoke
from validation.model import Check

SUITES: Mapping[str, tuple[Check, ...]] = {
    "smoke": smoke.CHECKS,
    "integration": integration.CHECKS,
    "production": production.CHECKS,
    "performance": regression.CHECKS,
    "compliance": production.COMPLIANCE,
}


def known_checks() -> dict[str, Check]:
    """Return every check of every suite by its id."""
    return {check.id: check for checks in SUITES.values() for check in checks}
