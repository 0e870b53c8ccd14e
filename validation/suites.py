"""The suites by name, each a tuple of checks."""

from collections.abc import Mapping

from validation import smoke
from validation.model import Check

SUITES: Mapping[str, tuple[Check, ...]] = {"smoke": smoke.CHECKS}
