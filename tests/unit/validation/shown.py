"""What breaks each check, and where it was shown: the tables in docs/validation.md.

`python -m tests.unit.validation.shown docs/validation.md` writes them.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from tests.unit.validation.production.operations import BREAKS
from validation import reference

FAKES = "answers of AWS's documented shape"
EMBEDDED = "the embedded AWS"
#: What test_smoke.py breaks.
SMOKE = {
    "smoke.cluster": ("no cluster",),
    "smoke.services": ("a service deleted", "a service scaled to 0"),
    "smoke.images": ("a task of another revision", "a tag for a digest", "another digest"),
    "smoke.logs": ("tasks that write nothing", "no log group"),
    "smoke.bedrock": ("no model in the region",),
    "smoke.health": ("an agent of another version", "HTTP 503"),
    "smoke.ready": ("an agent that is not ready",),
}
#: What tests/local/releases breaks by calls of the embedded AWS.
ON_EMBEDDED = (
    "encryption.keys",
    "iam.attached-policies",
    "monitoring.actions",
    "monitoring.coverage",
    "monitoring.logs-retention",
    "network.open-ports",
    "recovery.point-in-time",
)


def shown() -> dict[str, reference.Shown]:
    """Return what breaks each check, and where it was shown, by its id."""
    found: dict[str, list[str]] = {check: list(what) for check, what in SMOKE.items()}
    for case in BREAKS:
        found.setdefault(case.check, []).append(case.what)
    return {
        check: reference.Shown(what=tuple(what), where=tuple(_places(check)))
        for check, what in found.items()
    }


def _places(check: str) -> Iterator[str]:
    yield FAKES
    if check in ON_EMBEDDED:
        yield EMBEDDED


if __name__ == "__main__":
    path = Path(sys.argv[1])
    text = reference.document(path.read_text(encoding="utf-8"), shown())
    path.write_text(text, encoding="utf-8")
