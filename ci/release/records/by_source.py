"""Which validated release was made from a source: what a GitHub release promotes."""

from collections.abc import Awaitable, Callable, Mapping

from ci.errors import PromotionError
from ci.release.model import ReleaseContext
from ci.release.records import table
from ci.release.records.release import History, Release

Versions = Callable[[], Awaitable[Mapping[str, str]]]  # content version of each agent


async def release_of(context: ReleaseContext, commit: str, versions: Versions) -> str:
    """Return the id of an environment's newest validated release of a source.

    Args:
        context: the environment that has validated it.
        commit: the source's commit; empty if it is not known.
        versions: computes the content versions of the source's agents. Used if no record has the
            commit: a deploy that changes nothing leaves no record.

    Raises:
        PromotionError: the environment has validated no release of this source.
    """
    history = await table.history(context)
    found = of_commit(history, commit)
    if found is None:
        services = {context.env.service(agent): agent for agent in context.config.agents}
        wanted = await versions()
        found = of_content(history, {name: wanted[agent.name] for name, agent in services.items()})
    if found is None:
        raise _not_validated(context, commit)
    return found.id


def of_commit(history: History, commit: str) -> Release | None:
    """Return the newest validated release whose record has this commit; pure."""
    return next((item for item in _validated(history) if commit and _commit(item) == commit), None)


def of_content(history: History, versions: Mapping[str, str]) -> Release | None:
    """Return the newest validated release that runs exactly these versions, by service; pure."""
    for release in _validated(history):
        if {service: run.version for service, run in release.after.items()} == versions:
            return release
    return None


def _commit(release: Release) -> str:
    return "" if release.request.dirty else release.request.commit


def _validated(history: History) -> list[Release]:
    return [item for item in history.releases if item.stable]


def _not_validated(context: ReleaseContext, commit: str) -> PromotionError:
    environment = context.env
    source = f"commit {commit[:12]}" if commit else "this source"
    message = (
        f"{environment.name} has validated no release of {source}, nor one with the same content"
    )
    how = f"push it to {environment.branch}" if environment.branch else "deploy it there"
    hint = f"{how}, wait until {environment.name} is validated, then run this job again"
    return PromotionError(message, hint=hint)
