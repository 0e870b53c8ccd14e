"""Whether a source may replace the current release, or would silently undo somebody's newer one."""

from collections.abc import Mapping

from ci.config import Environment
from ci.errors import NewerReleaseError
from ci.release.model import Request
from ci.release.options import Relate, Relation
from ci.release.records.history import summary_of
from ci.release.records.release import History, Release

TEXTS = {
    Relation.UNKNOWN: "whose commit this checkout does not have",
    Relation.NEWER: "which is newer than this source",
    Relation.DIVERGED: "whose commit this source does not contain",
}


def would_undo(history: History, request: Request, relate: Relate | None) -> Release | None:
    """Return the current release if this source does not contain it and it is somebody else's.

    Whoever goes back in their own checkout knows what they do: then None, as without `relate`.
    """
    current = history.current
    if current is None or relate is None or not current.request.commit:
        return None
    relation = relate(current.request.commit)
    if relation is Relation.CONTAINED:
        return None
    own = bool(request.actor) and request.actor == current.request.actor
    return None if own and relation is not Relation.UNKNOWN else current


def require_contained(
    env: Environment,
    release: Release | None,
    versions: Mapping[str, str],
    relate: Relate | None,
) -> None:
    """Refuse to undo a release, unless its agents have the same content.

    Args:
        env: the environment.
        release: what `would_undo` returned.
        versions: the content version of each agent of the source.
        relate: as for `would_undo`.

    Raises:
        NewerReleaseError: the source would undo it.
    """
    if release is None or relate is None:
        return
    runs = {entry.agent: entry.after.version for entry in release.entries if entry.after}
    if runs == versions:
        return
    commit = release.request.commit[:12]
    message = f"{env.name} runs {summary_of(release)}, {TEXTS[relate(release.request.commit)]}"
    raise NewerReleaseError(
        f"{message}; a deploy of this source would undo it; nothing was changed",
        hint=f"deploy a commit that contains {commit}, or ./acso deploy --env {env.name} --over",
    )
