"""Which release runs, which validated one was before it, and what was measured of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ci.aws import records
from ci.aws.records import MEASURED, Document
from validation import environment
from validation.model import CheckContext, UnreadableError
from validation.regression import distribution
from validation.regression.distribution import Distribution

#: States of a release whose images run.
RUNNING = ("validating", "succeeded")
STABLE = "succeeded"


@dataclass(frozen=True, kw_only=True)
class Releases:
    """The release that runs, and the last validated one before it that had other images."""

    current: Document
    before: Document | None

    @property
    def changed(self) -> list[str]:
        """The agents that both have, with another image."""
        if self.before is None:
            return []
        old, new = images(self.before), images(self.current)
        return sorted(agent for agent in new if agent in old and new[agent] != old[agent])


async def releases(context: CheckContext) -> Releases:
    """Return the releases to compare; raises `UnreadableError` if no release on record runs."""
    found = await environment.releases(context)
    running = [item for item in found if item.state in RUNNING]
    if not running:
        raise UnreadableError("no release on record runs")
    current = running[0]
    before = (item for item in found if item.key < current.key and _stable(item))
    return Releases(
        current=current,
        before=next((item for item in before if images(item) != images(current)), None),
    )


def images(document: Document) -> dict[str, str]:
    """Return the digest that each agent runs under a release."""
    return {agent: run["digest"] for agent, run in runs(document).items()}


def runs(document: Document) -> dict[str, Mapping[str, Any]]:
    """Return the revision and digest that each agent runs under a release."""
    return {item["agent"]: item["after"] for item in document.body["entries"] if item.get("after")}


def _stable(document: Document) -> bool:
    return document.state == STABLE and document.body.get("outcome") != "unstable"


async def kept(context: CheckContext, release: Document) -> dict[str, Distribution]:
    """Return what was measured of a release; empty if nothing was."""
    found = await records.get(context.aws, _table(context), MEASURED, release.key)
    return distribution.parsed(found.body) if found else {}


async def keep(
    context: CheckContext, release: Document, agents: Mapping[str, Distribution]
) -> None:
    """Keep what was measured of a release with its record."""
    document = Document(
        kind=MEASURED,
        key=release.key,
        state=STABLE,
        owner=MEASURED,
        body=distribution.body(agents),
    )
    await records.put(context.aws, _table(context), document)


def _table(context: CheckContext) -> str:
    return f"{context.env.prefix}-releases"
