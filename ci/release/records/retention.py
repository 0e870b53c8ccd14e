"""Retention: how many release records and task definitions are kept, as acso.toml says.

Nothing that runs, or that a rollback may need, is ever removed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ci.aws import ecs, records
from ci.aws.records import Document
from ci.common.concurrency import parallel
from ci.errors import AwsError
from ci.release.model import ReleaseContext, agents_of
from ci.release.records import images, stacks, table
from ci.release.records.release import History, Release, State, key, parse

#: Revisions to deregister at most, of each family after one release: it must not wait for long.
MAX_DEREGISTERED = 5


async def apply_retention(context: ReleaseContext) -> str:
    """Remove the records and revisions that are not to be kept, after a release that succeeded.

    Returns a note if that failed, empty otherwise: it is no failure of the release.
    """
    try:
        history = await _delete_old_records(context)
        await _deregister(context, history)
    except AwsError as error:
        return f"old releases and revisions could not be removed: {error}"
    return ""


def revisions_to_remove(revisions: Sequence[str], keep: int, in_use: Iterable[str]) -> list[str]:
    """Return the revisions to deregister, oldest first; pure.

    Args:
        revisions: of one family, newest first.
        keep: how many of the newest stay in any case.
        in_use: revisions that run or that a rollback may need; they stay.
    """
    used = set(in_use)
    return [revision for revision in revisions[keep:] if revision not in used][::-1]


def rollback_revisions(history: History) -> set[str]:
    """Return the revisions that a rollback may need; pure.

    These are the revisions of validated releases, and those before and after unfinished ones.
    """
    found = set()
    for release in history.releases:
        if release.state is State.SUCCEEDED or not release.finished:
            found |= {run.revision for run in release.after.values()}
        if not release.finished:
            found |= {run.revision for run in release.before.values() if run}
    return found


def must_keep(release: Release, history: History) -> bool:
    """Return whether a record stays however old it is; pure.

    These are the current release, what a failure and a rollback return to, and unfinished ones.
    """
    target = history.target(None)
    pinned = {item.id for item in (history.current, history.stable, target) if item}
    return not release.finished or release.id in pinned


async def _delete_old_records(context: ReleaseContext) -> History:
    """Delete the records beyond those to keep; return those that stay."""
    name = context.outputs.releases_table
    found = await records.documents(context.aws, name, table.KIND)
    releases = tuple(parse(item.body) for item in found)
    history = History(releases=releases)
    past = [
        document
        for document, release in list(zip(found, releases, strict=True))[
            context.env.keep_releases :
        ]
        if not must_keep(release, history)
    ]

    async def remove(document: Document) -> None:
        await records.remove(context.aws, name, document)
        measured = replace(document, kind=records.MEASURED, owner=records.MEASURED)
        await records.remove(context.aws, name, measured)

    await parallel(remove, past)
    gone = {document.key for document in past}
    kept = [release for release in releases if key(release.id) not in gone]
    await images.untag_unused(context, [item for item in releases if item not in kept], kept)
    await stacks.delete_unused(context, {item.stack.template for item in kept if item.stack})
    return History(releases=tuple(kept))


async def _deregister(context: ReleaseContext, history: History) -> None:
    """Deregister the revisions of each agent that are neither new nor in use."""
    families = list(agents_of(context.config, context.env))
    in_use = rollback_revisions(history) | await _running(context, families)
    for found in await parallel(lambda family: ecs.revisions(context.aws, family), families):
        for revision in revisions_to_remove(found, context.env.keep_revisions, in_use)[
            :MAX_DEREGISTERED
        ]:
            await ecs.deregister(context.aws, revision)


async def _running(context: ReleaseContext, services: Sequence[str]) -> set[str]:
    """Return the revisions that services, their deployments and tasks of the cluster run."""
    cluster = context.outputs.cluster
    # Services first, then tasks: a task that starts in between is then in at least one answer.
    found = (await ecs.services(context.aws, cluster, services)).values()
    ids = await ecs.task_ids(context.aws, cluster)
    tasks = await ecs.tasks(context.aws, cluster, ids)
    return (
        {service.revision for service in found}
        | {deployment.revision for service in found for deployment in service.deployments}
        | {task.revision for task in tasks}
    )
