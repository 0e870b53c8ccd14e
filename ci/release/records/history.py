"""The releases of an environment as text and JSON: a list, or one in detail."""

import datetime
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ci.common import tables
from ci.errors import UsageError
from ci.release.model import ReleaseContext, ServiceRevision
from ci.release.records import table
from ci.release.records.release import Entry, Release, body, key

HEADS = ("release", "kind", "state", "began", "took", "by", "commit", "changed", "why")
WIDTH = 100  # characters of a reason in a list; `release_detail` shows all of it


@dataclass(frozen=True, kw_only=True)
class ReleaseList:
    """Releases, newest first; `current` is the id of the one that should run."""

    environment: str
    releases: tuple[Release, ...]
    current: str = ""

    def text(self) -> str:
        """Return one line for each release; `*` marks the current one."""
        if not self.releases:
            return f"{self.environment}: no release on record"
        rows = [self._row(release) for release in self.releases]
        width = tables.terminal_width()
        lines = tables.table(HEADS, rows, width=width, indent="  ", header=False)
        count = f"{len(rows)} release{'s' * (len(rows) > 1)}"
        return "\n".join([f"{self.environment}: {count}, newest first", *lines])

    def data(self) -> dict[str, Any]:
        """Return the releases for machines, without the details of `history --release`."""
        return {
            "environment": self.environment,
            "current": self.current,
            "releases": [summary(release) for release in self.releases],
        }

    def _row(self, release: Release) -> tuple[str, ...]:
        mark = " *" if release.id == self.current else ""
        seconds = duration(release)
        why = textwrap.shorten(release.why, WIDTH, placeholder=" ...")
        return (
            f"{release.id}{mark}",
            str(release.kind),
            state_label(release),
            release.created_at[:19].replace("T", " "),
            "-" if seconds is None else f"{seconds:.0f} s",
            release.request.actor or release.holder or "-",
            release.request.commit[:9] or "-",
            _changed(release),
            why,
        )


@dataclass(frozen=True, kw_only=True)
class ReleaseDetail:
    """One release in detail: its steps, its services, why it failed."""

    release: Release

    def text(self) -> str:
        """Return the release for people."""
        return "\n".join(self._lines())

    def data(self) -> dict[str, Any]:
        """Return the whole record for machines."""
        return body(self.release) | {"seconds": duration(self.release)}

    def _lines(self) -> Iterator[str]:
        release = self.release
        label = f"{release.kind}, {state_label(release)}"
        yield f"release {release.id} of {release.environment}: {label}"
        yield f"  {_asked(release)}"
        if release.took_over:
            yield f"  took over {', '.join(release.took_over)}, left unfinished"
        if release.base:
            yield f"  a failure returns to {release.base}"
        if release.why:
            yield from (f"  {line}" for line in f"why: {release.why}".splitlines())
        yield "steps:"
        began = release.steps[0][1] if release.steps else release.created_at
        for name, at in release.steps:
            yield f"  {name.replace('_', ' '):<12}  {at[:23]}Z  +{_seconds(began, at):.1f} s"
        yield "services:"
        width = max((len(entry.agent) for entry in release.entries), default=0)
        yield from (f"  {entry.agent:<{width}}  {_change(entry)}" for entry in release.entries)
        if release.failures:
            yield "failures:"
        for failure in release.failures:
            yield from _failure(failure)


async def history(context: ReleaseContext, *, limit: int = 20) -> ReleaseList:
    """Return an environment's newest releases.

    Args:
        context: the environment.
        limit: how many at most.
    """
    found = await table.history(context)
    return ReleaseList(
        environment=context.env.name,
        releases=found.releases[: max(limit, 0)],
        current=found.current.id if found.current else "",
    )


async def release_detail(context: ReleaseContext, id_: str) -> ReleaseDetail:
    """Return one release in detail; raises `UsageError` if it is not on record."""
    release = await table.read(context, key(id_))
    if release is None:
        message = f"release {id_} of {context.env.name} is not on record"
        raise UsageError(message, hint=f"./acso history --env {context.env.name}")
    return ReleaseDetail(release=release)


def summary(release: Release) -> dict[str, Any]:
    """Return the fields of a release that a list shows."""
    return {
        "id": release.id,
        "kind": str(release.kind),
        "state": str(release.state),
        "outcome": release.outcome,
        "created_at": release.created_at,
        "seconds": duration(release),
        "actor": release.request.actor,
        "commit": release.request.commit,
        "branch": release.request.branch,
        "promoted_from": release.request.promoted_from,
        "origin": release.origin,
        "changed": changed_agents(release),
        "why": release.why,
    }


def summary_of(release: Release) -> str:
    """Describe a release in a few words: its id, who made it, of which commit, and when."""
    who = release.request.actor or release.holder or "somebody"
    at = release.created_at[:16].replace("T", " ")
    return f"release {release.id} ({who}, commit {release.request.commit[:12]}, {at} UTC)"


def state_label(release: Release) -> str:
    """Return the state of a release, or how it ended, as words."""
    return (release.outcome or str(release.state)).replace("_", " ").replace("ecs", "ECS")


def changed_agents(release: Release) -> list[str]:
    """Return the agents that a release changed."""
    return [entry.agent for entry in release.entries if entry.action != "none"]


def _changed(release: Release) -> str:
    changed = changed_agents(release)
    every = len(changed) == len(release.entries) > 2
    return f"all {len(changed)} agents" if every else ", ".join(changed) or "-"


def duration(release: Release) -> float | None:
    """Return the seconds from a release's first step to its end; None if it has not ended."""
    if not release.finished or not release.steps:
        return None
    return _seconds(release.steps[0][1], release.steps[-1][1])


def _seconds(first: str, last: str) -> float:
    moments = [datetime.datetime.fromisoformat(text) for text in (first, last)]
    return round((moments[1] - moments[0]).total_seconds(), 3)


def _asked(release: Release) -> str:
    request = release.request
    source = f"commit {request.commit[:12]}" if request.commit else "no commit given"
    branch = f" on {request.branch}" * bool(request.branch)
    dirty = ", with uncommitted changes" * request.dirty
    origin = f"; content of release {release.origin}" * (release.origin not in ("", release.id))
    promoted = f", promoted from {request.promoted_from}" * bool(request.promoted_from)
    what = f"{source}{branch}{dirty}{promoted}{origin}"
    return f"by {request.actor or 'unknown'} ({release.holder}): {what}"


def _change(entry: Entry) -> str:
    if entry.action == "none":
        return f"unchanged: {_run(entry.after or entry.before)}"
    return f"{entry.action}: {_run(entry.before)} -> {_run(entry.after)}"


def _run(run: ServiceRevision | None) -> str:
    return f"{run.version} (revision {run.number}, {run.digest[:19]})" if run else "nothing"


def _failure(failure: Mapping[str, Any]) -> Iterator[str]:
    yield f"  {failure.get('agent', '')}, task {failure.get('task', '')}: {failure.get('what', '')}"
    yield from (f"    | {line}" for line in failure.get("log", ()))
