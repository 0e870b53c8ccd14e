"""What describes a setting of acso.toml: its meaning and unit, as its dataclass field has them.

`docs/configuration.md` is made from these (`ci.config.reference`).
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

#: Letters that the beginning of a name has at least: less occurs by chance.
SHORTEST = 3


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


def similar(name: str, names: Sequence[str]) -> str | None:
    """Return the most similar name, None if none is similar.

    A name is similar if it is the beginning of what was typed, or the other way round
    (`--environment` and `--env`), or if most letters are the same, in whatever case.
    """
    typed = name.casefold()
    folded = {known.casefold(): known for known in reversed(names)}
    begun = [
        known
        for known in folded
        if min(len(known.strip("-")), len(typed.strip("-"))) >= SHORTEST
        and (known.startswith(typed) or typed.startswith(known))
    ]
    near = difflib.get_close_matches(typed, begun or list(folded), n=1, cutoff=0 if begun else 0.6)
    return folded[near[0]] if near else None


def nearest(name: str, names: Sequence[str]) -> str:
    """Return a hint: the most similar name, or all names."""
    near = similar(name, names)
    return f"did you mean {near!r}?" if near else f"known: {', '.join(names)}"
