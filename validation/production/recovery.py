"""Whether an environment's data and its previous release could be restored."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ci.aws import ecr, ecs
from ci.aws.audit import tables
from ci.aws.records import Document
from ci.common.concurrency import parallel
from validation import environment
from validation.model import (
    Check,
    CheckContext,
    Evidence,
    Finding,
    Severity,
    UnreadableError,
    judged,
)
from validation.production.encryption import all_tables

SUCCEEDED, UNSTABLE = "succeeded", "unstable"
#: The most data that may be lost: 15 minutes, the least of the original system's three.
RECOVERY_POINT = datetime.timedelta(minutes=15)


@dataclass(frozen=True, kw_only=True)
class Revision:
    """What one service ran under a release."""

    agent: str
    service: str
    revision: str
    digest: str


async def backups(context: CheckContext) -> dict[str, tables.Backups | None]:
    """Return the backups of the environment's tables, by table."""
    return await context.reads.get("backups", lambda: _backups(context))


async def _backups(context: CheckContext) -> dict[str, tables.Backups | None]:
    names = await all_tables(context)
    found = await parallel(lambda name: tables.backups(context.aws, name), names)
    return dict(zip(names, found, strict=True))


async def point_in_time(context: CheckContext) -> Finding:
    """Check that tables can be restored to any moment."""
    found = await backups(context)
    problems = [
        f"{name}: {'gone' if item is None else 'point-in-time recovery is off'}"
        for name, item in found.items()
        if item is None or not item.enabled
    ]
    return judged(
        problems,
        _tables(found),
        observed=f"{len(found)} tables have point-in-time recovery",
        expected="point-in-time recovery of every table",
    )


def _tables(found: Mapping[str, tables.Backups | None]) -> Evidence:
    return Evidence("tables", len([item for item in found.values() if item]), len(found))


async def recent_backups(context: CheckContext) -> Finding:
    """Check that tables can be restored to a moment that is recent enough."""
    found = await backups(context)
    now = datetime.datetime.now(datetime.UTC)
    problems = [
        f"{name}: {text}" for name, item in found.items() if (text := backup_problem(item, now))
    ]
    return judged(
        problems,
        _tables(found),
        observed=f"{len(found)} tables can be restored as they were minutes ago",
        expected=f"a restorable moment in the last {RECOVERY_POINT.total_seconds():.0f} s",
    )


def backup_problem(found: tables.Backups | None, now: datetime.datetime) -> str:
    """Return what is wrong with the backups of a table, empty if nothing is; pure."""
    if found is None:
        return "gone"
    if found.latest is None:
        return "it cannot be restored to any moment"
    age = now - found.latest
    return f"last restorable {age.total_seconds():.0f} s ago" if age > RECOVERY_POINT else ""


async def history(context: CheckContext) -> list[Document]:
    """Return the release records, newest first; raises `UnreadableError` if there is none."""
    found = await environment.releases(context)
    if not found:
        raise UnreadableError(f"{context.env.name} has no release on record")
    return found


async def first_release(context: CheckContext) -> str:
    """Say why there is no previous release: none was validated before the newest one."""
    newest = (await history(context))[0]
    return "" if newest.body.get("base") else "no release was validated before this one"


async def previous_release(context: CheckContext) -> Finding:
    """Check that the release that a failure returns to can be restored."""
    found = await history(context)
    base = found[0].body["base"]
    release = next((item for item in found if item.body["id"] == base), None)
    expected = "a validated release, its task definitions active, its images there"
    read = Evidence("releases", len(found), len(found))
    if release is None:
        text = f"{base} is not on record"
        return judged([text], read, observed=text, expected=expected)
    revisions = revisions_of(release.body)
    problems = await parallel(lambda item: _unrestorable(context, item), revisions)
    return judged(
        [*unusable(release), *(text for texts in problems for text in texts)],
        read,
        Evidence("services of the release", len(revisions), max(len(revisions), 1)),
        observed=f"{base} can be returned to: {len(revisions)} services",
        expected=expected,
    )


def unusable(release: Document) -> list[str]:
    """Return why a release is not worth returning to; pure."""
    if release.state != SUCCEEDED:
        return [f"{release.body['id']} was {release.state.replace('_', ' ')}"]
    unstable = release.body.get("outcome") == UNSTABLE
    return [f"the tasks of {release.body['id']} crashed after it had succeeded"] * unstable


def revisions_of(body: Mapping[str, Any]) -> list[Revision]:
    """Return what each service ran under a release, by its record; pure."""
    return [
        Revision(
            agent=entry["agent"],
            service=entry["service"],
            revision=entry["after"]["revision"],
            digest=entry["after"]["digest"],
        )
        for entry in body["entries"]
        if entry.get("after")
    ]


async def _unrestorable(context: CheckContext, item: Revision) -> list[str]:
    """Return what is missing of one service of a release."""
    definition = await ecs.task_definition(context.aws, item.revision)
    name = item.revision.rpartition("/")[2]
    if definition is None or not definition.active:
        return [f"{name} is {'gone' if definition is None else 'inactive'}"]
    repository = definition.image.partition("@")[0].rpartition("/")[2]
    there = await ecr.has(context.aws, repository, item.digest)
    return [] if there else [f"the image of {name} is gone"]


CHECKS = (
    Check(
        id="recovery.point-in-time",
        title="tables can be restored to any moment",
        run=point_in_time,
        severity=Severity.HIGH,
        reads=("dynamodb:ListTables", "dynamodb:DescribeContinuousBackups"),
        why="what an agent or a person deletes by mistake is lost without it",
        remedy="./acso deploy sets PointInTimeRecoverySpecification again",
        controls=("FSBP DynamoDB.2",),
    ),
    Check(
        id="recovery.backups",
        title="backups are recent",
        run=recent_backups,
        severity=Severity.HIGH,
        reads=("dynamodb:DescribeContinuousBackups",),
        why="what was written after the last restorable moment is lost",
        remedy="a backup starts with point-in-time recovery; AWS Support, if it stays behind",
        patience=20.0,
    ),
    Check(
        id="recovery.previous",
        title="the previous release could be returned to",
        run=previous_release,
        severity=Severity.HIGH,
        reads=("dynamodb:Query", "ecs:DescribeTaskDefinition", "ecr:DescribeImages"),
        applies=first_release,
        why="a rollback that has nothing to return to is noticed when it is needed",
        remedy="keep_revisions and keep_releases of acso.toml decide what is kept",
    ),
)
