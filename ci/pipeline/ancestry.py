"""What is known of the source beside its files: only a checkout has a history of commits."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from ci import release
from ci.aws.target import Target
from ci.pipeline import environments
from ci.release.records import table

Versions = Callable[[], Awaitable[Mapping[str, str]]]  # content version of each agent
_relate: ContextVar[release.Relate | None] = ContextVar("relate", default=None)


@contextmanager
def checkout(relate: release.Relate) -> Iterator[None]:
    """Set how commits relate to the source; without it, as in `dagger call`, nobody can say."""
    token = _relate.set(relate)
    try:
        yield
    finally:
        _relate.reset(token)


def relation(*, over: bool) -> release.Relate | None:
    """Return how commits relate to the source; None if nobody can say, or nobody asks (`over`)."""
    return None if over else _relate.get()


async def require_contained(
    target: Target, request: release.Request, relate: release.Relate | None, versions: Versions
) -> None:
    """Refuse a source that would undo somebody's newer release, before long work begins.

    Raises:
        NewerReleaseError: it would; the release itself checks again, under the lock.
    """
    context = await environments.find(target) if relate else None
    if context is None:
        return
    undone = release.would_undo(await table.history(context), request, relate)
    if undone:
        release.require_contained(target.env, undone, await versions(), relate)
