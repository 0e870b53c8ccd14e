"""Release records in the environment's table; each write is fenced by the lock's token."""

from ci.aws import records
from ci.errors import LockedError
from ci.release.model import ReleaseContext
from ci.release.records.release import History, Release, body, key, parse

KIND = "release"


async def history(context: ReleaseContext) -> History:
    """Read the releases of the environment, newest first."""
    found = await records.documents(context.aws, context.outputs.releases_table, KIND)
    releases = tuple(parse(item.body) for item in found)
    owners = {release.id: item.owner for release, item in zip(releases, found, strict=True)}
    return History(releases=releases, owners=owners)


async def read(context: ReleaseContext, sort_key: str) -> Release | None:
    """Read one release by its id's sort key; None if it is not on record."""
    found = await records.get(context.aws, context.outputs.releases_table, KIND, sort_key)
    return parse(found.body) if found else None


async def write(
    context: ReleaseContext, release: Release, token: str, *, took_from: str = ""
) -> None:
    """Write a release as the holder of the lock.

    Args:
        context: the environment.
        release: what to write.
        token: of the lock that this process holds.
        took_from: token of the dead holder that wrote the record last.

    Raises:
        LockedError: another process took over the environment.
    """
    document = records.Document(
        kind=KIND, key=key(release.id), state=str(release.state), owner=token, body=body(release)
    )
    table = context.outputs.releases_table
    if not await records.put(context.aws, table, document, taken_from=took_from):
        message = f"another process has taken over release {release.id}"
        raise LockedError(message, hint=f"./acso status --env {context.env.name}")
