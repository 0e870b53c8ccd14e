"""The suites of checks, by name."""

from collections.abc import Mapping

from validation import smoke
from validation.model import Check

SUITES: Mapping[str, tuple[Check, ...]] = {"smoke": smoke.CHECKS}
