"""What describes a setting of acso.toml: its meaning and unit, as its dataclass field has them.

`docs/configuration.md` is made from these (`ci.config.reference`).
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class About:
    """The meaning of a setting, its unit, and who notices a change of it.

    `effect` is what a change does with running services: empty, nothing; `tasks`, they are
    replaced by a rolling update; `service`, the service is updated and its tasks stay;
    `stack`, an administrator applies it, and the tasks stay.
    """

    meaning: str
    unit: str = ""
    effect: str = ""


def nearest(name: str, names: Sequence[str]) -> str:
    """Return a hint: the most similar name, or all names."""
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
