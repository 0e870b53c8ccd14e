"""What is kept of the past: records and task definitions, as many as acso.toml says.

Nothing that runs, or that could be returned to, is ever let go.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ci.aws import ecs, records
from ci.aws.records import Document
from ci.common.concurrency import parallel
from ci.errors import AwsError
from ci.release.model import ReleaseContext, agents_of
from ci.release.outcome import Outcome
from ci.release.records import table
from ci.release.records.release import History, Release, State, parse

#: Deregistered at most, of each family after one release: a long past is no release's to wait for.
AT_ONCE = 5


async def tidy(context: ReleaseContext, outcome: Outcome) -> Outcome:
    """Let go of what is past keeping, after a release that succeeded.

    That the past cannot be tidied is no failure of the release: the outcome's notes say so.
    """
    if not outcome.ok:
        return outcome
    try:
        history = await _forget(context)
        await _deregister(context, history)
    except AwsError as error:
        note = f"old releases and revisions are not tidied: {error}"
        return replace(outcome, notes=(*outcome.notes, note))
    return outcome


def surplus(revisions: Sequence[str], keep: int, held: Iterable[str]) -> list[str]:
    """Return the revisions to let go of, oldest first: pure.

    Args:
        revisions: a family's, newest first.
        keep: the number of the newest ones that stay whatever became of them.
        held: what runs or can be returned to; stays however old it is.
    """
    wanted = set(held)
    return [revision for revision in revisions[keep:] if revision not in wanted][::-1]


def held(history: History) -> set[str]:
    """Return the revisions that can be returned to: pure.

    Those are what validated releases list, and both sides of unfinished ones.
    """
    found = set()
    for release in history.releases:
        if release.state is State.SUCCEEDED or not release.finished:
            found |= {run.revision for run in release.after.values()}
        if not release.finished:
            found |= {run.revision for run in release.before.values() if run}
    return found


def kept(release: Release, history: History) -> bool:
    """Tell whether a record stays however old it is: pure.

    The current release, the one that a rollback goes to, and those that did not end.
    """
    target = history.target(None)
    pinned = {item.id for item in (history.current, target) if item}
    return not release.finished or release.id in pinned


async def _forget(context: ReleaseContext) -> History:
    """Delete the records beyond those to keep; returns what stays."""
    name = context.outputs.releases_table
    found = await records.documents(context.aws, name, table.KIND)
    releases = tuple(parse(item.body) for item in found)
    history = History(releases=releases)
    past = [
        document
        for document, release in list(zip(found, releases, strict=True))[
            context.environment.keep_releases :
        ]
        if not kept(release, history)
    ]

    async def remove(document: Document) -> None:
        await records.remove(context.aws, name, document)

    await parallel(remove, past)
    gone = {document.key for document in past}
    return History(
        releases=tuple(
            release
            for document, release in zip(found, releases, strict=True)
            if document.key not in gone
        )
    )


async def _deregister(context: ReleaseContext, history: History) -> None:
    """Deregister the revisions of each agent that nobody can need any more."""
    families = list(agents_of(context.config, context.environment))
    wanted = held(history) | await _running(context, families)
    for found in await parallel(lambda family: ecs.revisions(context.aws, family), families):
        for revision in surplus(found, context.environment.keep_revisions, wanted)[:AT_ONCE]:
            await ecs.deregister(context.aws, revision)


async def _running(context: ReleaseContext, services: Sequence[str]) -> set[str]:
    """Return the revisions that services, their deployments and any task of the cluster have."""
    cluster = context.outputs.cluster
    # Tasks after services: one that starts in between is then seen in at least one of them.
    found = (await ecs.services(context.aws, cluster, services)).values()
    ids = await ecs.task_ids(context.aws, cluster)
    tasks = await ecs.tasks(context.aws, cluster, ids)
    return (
        {service.revision for service in found}
        | {deployment.revision for service in found for deployment in service.deployments}
        | {task.revision for task in tasks}
    )
