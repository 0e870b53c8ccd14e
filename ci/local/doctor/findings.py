"""What `doctor` finds."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The state of one thing that a deployment needs.

    missing: a deployment works without it, or `up` creates it; broken: a person has to act.
    """

    name: str
    state: Literal["ok", "missing", "broken"]
    detail: str
    fix: str = ""
