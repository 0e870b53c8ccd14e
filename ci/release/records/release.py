"""A release as it is recorded: a state machine, written before each step it takes."""

import datetime
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from ci.errors import UsageError
from ci.release.model import Request, ServiceRevision

ID = re.compile(r"(\d{4}\.\d{2}\.\d{2})-(\d{1,6})")


class Kind(StrEnum):
    """Whether a release brought new images or went back to those of an earlier one."""

    DEPLOY = "deploy"
    ROLLBACK = "rollback"


class State(StrEnum):
    """Where a release is; the last three are ends."""

    PLANNED = "planned"
    DEPLOYING = "deploying"
    VALIDATING = "validating"
    ROLLING_BACK = "rolling_back"
    INTERRUPTED = "interrupted"
    SUCCEEDED = "succeeded"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"


ENDS = frozenset({State.SUCCEEDED, State.ROLLED_BACK, State.FAILED})
#: What may follow what. A release that stopped halfway ends as failed when the next takes over.
NEXT: Mapping[State, frozenset[State]] = {
    State.PLANNED: frozenset({State.DEPLOYING, State.INTERRUPTED, State.FAILED}),
    State.DEPLOYING: frozenset(
        {State.VALIDATING, State.ROLLING_BACK, State.INTERRUPTED, State.FAILED}
    ),
    State.VALIDATING: frozenset(
        {State.SUCCEEDED, State.ROLLING_BACK, State.INTERRUPTED, State.FAILED}
    ),
    State.ROLLING_BACK: frozenset({State.ROLLED_BACK, State.FAILED}),
    State.INTERRUPTED: frozenset({State.FAILED, State.ROLLING_BACK}),
    State.SUCCEEDED: frozenset(),
    State.ROLLED_BACK: frozenset(),
    State.FAILED: frozenset(),
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One service in a release: what it is to return to, and what the release brings.

    `before` is None for a service that the release (or the unfinished ones it took over) made;
    `after` is None until its revision is registered.
    """

    agent: str
    service: str
    action: str
    before: ServiceRevision | None = None
    after: ServiceRevision | None = None


@dataclass(frozen=True, kw_only=True)
class Release:
    """One release of an environment; times are ISO 8601 in UTC.

    `base` is the validated release that a failure returns to, `origin` the release whose content
    this one has (a rollback's target; its own id otherwise), `took_over` the unfinished releases
    that it ended, `why` the reason of an end other than success, `outcome` how one that went back
    by itself is called (`ci.release.outcome`).
    """

    id: str
    environment: str
    kind: Kind
    state: State
    entries: tuple[Entry, ...]
    request: Request
    created_at: str
    holder: str = ""
    base: str = ""
    origin: str = ""
    took_over: tuple[str, ...] = ()
    steps: tuple[tuple[str, str], ...] = ()
    why: str = ""
    outcome: str = ""
    failures: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def finished(self) -> bool:
        """Whether the release came to an end."""
        return self.state in ENDS

    @property
    def after(self) -> dict[str, ServiceRevision]:
        """What each service runs under this release, by service."""
        return {entry.service: entry.after for entry in self.entries if entry.after}

    @property
    def before(self) -> dict[str, ServiceRevision | None]:
        """What each service returns to if this release fails, by service."""
        return {entry.service: entry.before for entry in self.entries}

    def at(self, state: State) -> str:
        """Return when the release first reached a state; empty if it never did."""
        return next((at for name, at in self.steps if name == state), "")


def begin(release: Release, now: datetime.datetime) -> Release:
    """Return a new release with its first step."""
    return replace(release, steps=((str(release.state), stamp(now)),))


def advance(release: Release, state: State, now: datetime.datetime, *, why: str = "") -> Release:
    """Return the release in its next state; raises `ValueError` where that cannot follow."""
    if state not in NEXT[release.state]:
        message = f"release {release.id} cannot go from {release.state} to {state}"
        raise ValueError(message)
    steps = (*release.steps, (str(state), stamp(now)))
    return replace(release, state=state, steps=steps, why=why or release.why)


def stamp(now: datetime.datetime) -> str:
    """Return a time as text, to the millisecond."""
    return now.astimezone(datetime.UTC).isoformat(timespec="milliseconds")


def next_id(known: Iterable[str], now: datetime.datetime) -> str:
    """Return the id of the day's next release: `2026.11.24-3` after `2026.11.24-2`."""
    day = now.astimezone(datetime.UTC).strftime("%Y.%m.%d")
    numbers = [int(found[2]) for id_ in known if (found := ID.fullmatch(id_)) and found[1] == day]
    return f"{day}-{max(numbers, default=0) + 1}"


def key(id_: str) -> str:
    """Return an id in the form that sorts by age; raises `UsageError` on what is no id."""
    found = ID.fullmatch(id_)
    if not found:
        message = f"{id_!r} is no release; they look like 2026.11.24-3"
        raise UsageError(message)
    return f"{found[1]}-{int(found[2]):06}"


def body(release: Release) -> dict[str, Any]:
    """Return the release as JSON holds it."""
    return asdict(release) | {"kind": str(release.kind), "state": str(release.state)}


def parse(data: Mapping[str, Any]) -> Release:
    """Return the release that `body` wrote."""
    fields = dict(data)
    if "ending" in fields:  # the field's name in records of earlier versions
        fields["outcome"] = fields.pop("ending")
    return Release(
        **fields
        | {
            "kind": Kind(data["kind"]),
            "state": State(data["state"]),
            "entries": tuple(_entry(item) for item in data["entries"]),
            "request": Request(**data["request"]),
            "took_over": tuple(data["took_over"]),
            "steps": tuple((name, at) for name, at in data["steps"]),
            "failures": tuple(data["failures"]),
        }
    )


def _entry(data: Mapping[str, Any]) -> Entry:
    runs = {
        when: ServiceRevision(**data[when]) if data[when] is not None else None
        for when in ("before", "after")
    }
    return Entry(**dict(data) | runs)


@dataclass(frozen=True, kw_only=True)
class History:
    """An environment's releases, newest first, who wrote each last, and what follows from them."""

    releases: tuple[Release, ...]
    owners: Mapping[str, str] = field(default_factory=dict)

    @property
    def current(self) -> Release | None:
        """The last release that succeeded: what the environment should run."""
        return next((item for item in self.releases if item.state is State.SUCCEEDED), None)

    @property
    def unfinished(self) -> tuple[Release, ...]:
        """Releases that no process brought to an end, newest first."""
        return tuple(item for item in self.releases if not item.finished)

    def before(self, service: str, running: ServiceRevision | None) -> ServiceRevision | None:
        """Return what a service goes back to if the next release fails.

        That is what the last validated release lists; without one, what ran before the oldest
        unfinished release touched it; without that too, what runs now.
        """
        if self.current and service in self.current.after:
            return self.current.after[service]
        for release in reversed(self.unfinished):
            if service in release.before:
                return release.before[service]
        return running

    def target(self, to: str | None) -> Release | None:
        """Return the release that a rollback goes to, by its id or the last validated before.

        With a release unfinished, that is the last validated one: going back means undoing.
        Raises `UsageError` if `to` is not on record or never passed validation.
        """
        validated = [item for item in self.releases if item.state is State.SUCCEEDED]
        if to is not None:
            key(to)
            for release in validated:
                if release.id == to:
                    return release
            message = f"release {to} is not on record as validated"
            failed = next((item for item in self.releases if item.id == to), None)
            if failed:
                words = str(failed.state).replace("_", " ")
                message = f"release {to} did not succeed ({words}): it is never returned to"
            known = ", ".join(item.id for item in validated[:5]) or "none"
            raise UsageError(message, hint=f"validated releases: {known}")
        if self.unfinished or not validated:
            return self.current
        content = validated[0].origin
        older = [r for r in validated if r.kind is Kind.DEPLOY and key(r.id) < key(content)]
        return next((r for r in older if r.after != validated[0].after), None)
