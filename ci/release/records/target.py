"""The target of a rollback: pure functions of the records.

A rollback always returns to a whole release, also if the target is named by revision or digest.
"""

import re
from collections.abc import Callable, Sequence

from ci.errors import UsageError
from ci.release.model import ServiceRevision
from ci.release.records.release import ID, History, Release

REVISION = re.compile(r"(?:arn:aws[\w-]*:ecs:[\w-]+:\d{12}:task-definition/)?([\w-]+):(\d+)")
DIGEST = re.compile(r"sha256:[0-9a-f]{7,64}")
SHOWN = 5  # validated releases that an error lists


def find_target(history: History, to: str | None) -> Release | None:
    """Return the validated release to return to; None if `to` is None and there is no earlier one.

    Args:
        history: the environment's releases.
        to: a release's id, a task definition's revision (`family:12` or its ARN) or an image's
            digest (`sha256:...`, seven digits or more). A revision or digest selects the newest
            validated release that contains it. None: the last validated one before the current.

    Raises:
        UsageError: there is no such release, it did not pass validation, or `to` is malformed.
    """
    if to is None:
        return history.target(None)
    if ID.fullmatch(to):
        return history.target(to)
    if DIGEST.fullmatch(to):
        _unambiguous(history.releases, to)
        return _newest(history, f"image {to}", lambda run: run.digest.startswith(to))
    if found := REVISION.fullmatch(to):
        name = f"{found[1]}:{found[2]}"
        return _newest(history, f"revision {name}", lambda run: _name(run) == name)
    raise UsageError(
        f"{to!r} is not a release, revision or digest",
        hint="examples: 2026.11.24-3, acso-staging-supervisor:12, sha256:0123456...",
    )


def validated_releases(history: History) -> str:
    """List the newest releases that a rollback can return to."""
    known = [item.id for item in history.releases if item.stable]
    more = f" and {len(known) - SHOWN} older ones" if len(known) > SHOWN else ""
    return f"validated releases: {', '.join(known[:SHOWN]) or 'none'}{more}"


def _newest(history: History, what: str, holds: Callable[[ServiceRevision], bool]) -> Release:
    """Return the newest validated release with a matching service; raises `UsageError`."""
    holding = [item for item in history.releases if any(map(holds, item.after.values()))]
    good = next((item for item in holding if item.stable), None)
    if good is not None:
        return good
    if holding:
        words = (holding[0].outcome or str(holding[0].state)).replace("_", " ")
        message = f"{what} is only in release {holding[0].id}, which did not succeed ({words})"
    else:
        message = f"{what} is in no release on record"
    raise UsageError(message, hint=validated_releases(history))


def _unambiguous(releases: Sequence[Release], start: str) -> None:
    found = {
        run.digest
        for release in releases
        for run in release.after.values()
        if run.digest.startswith(start)
    }
    if len(found) > 1:
        message = f"{start} is ambiguous: {len(found)} digests on record start with it"
        raise UsageError(message, hint=f"give more digits: {', '.join(sorted(found))}")


def _name(run: ServiceRevision) -> str:
    return run.revision.rpartition("/")[2]
