"""The record of a release: a state machine, written before each step."""

import datetime
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from ci.config import Agent
from ci.errors import UsageError
from ci.release.model import Request, ServiceRevision

#: Version of the records that this code writes. It reads earlier ones, and refuses later ones.
FORMAT = 2
#: What a record keeps of an agent: what a rollback needs beside its revision and the stack.
AGENT = ("name", "port", "health_path", "calls")
ID = re.compile(r"(\d{4}\.\d{2}\.\d{2})-(\d{1,6})")
#: `outcome` of a release that succeeded, and whose tasks crash-looped afterwards.
UNSTABLE = "unstable"


class Kind(StrEnum):
    """Whether a release deploys images or rolls back to an earlier release."""

    DEPLOY = "deploy"
    ROLLBACK = "rollback"


class State(StrEnum):
    """The state of a release; the last three are final."""

    PLANNED = "planned"
    DEPLOYING = "deploying"
    VALIDATING = "validating"
    ROLLING_BACK = "rolling_back"
    INTERRUPTED = "interrupted"
    SUCCEEDED = "succeeded"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"


FINAL_STATES = frozenset({State.SUCCEEDED, State.ROLLED_BACK, State.FAILED})
#: The states that may follow each state. An unfinished release becomes failed when the next
#: release takes it over.
TRANSITIONS: Mapping[State, frozenset[State]] = {
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
    """One service in a release: what it runs before and after.

    `before` is what a rollback returns to; None if the release (or an unfinished one that it took
    over) created the service. `after` is None until its revision is registered.
    """

    agent: str
    service: str
    action: str
    before: ServiceRevision | None = None
    after: ServiceRevision | None = None


@dataclass(frozen=True, kw_only=True)
class RecordedStack:
    """The stack that a release leaves; the template is stored apart, by its SHA-256."""

    name: str
    template: str
    parameters: Mapping[str, str]
    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Release:
    """One release of an environment; times are ISO 8601 in UTC.

    `base` is the validated release that a failure returns to. `origin` is the release with the
    same content: a rollback's target, otherwise its own id. `took_over` are the unfinished
    releases that it closed. `why` is why it did not succeed, `outcome` the `OutcomeKind` of one
    that was rolled back automatically, or `UNSTABLE`. `agents` are those of acso.toml, and `stack`
    is the infrastructure: what a rollback to this release restores besides the services. Records of
    version 1 have neither.
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
    agents: tuple[Agent, ...] = ()
    stack: RecordedStack | None = None

    @property
    def finished(self) -> bool:
        """Whether the release is in a final state."""
        return self.state in FINAL_STATES

    @property
    def stable(self) -> bool:
        """Whether it succeeded, and its tasks did not crash-loop afterwards: worth returning to."""
        return self.state is State.SUCCEEDED and self.outcome != UNSTABLE

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


def with_first_step(release: Release, now: datetime.datetime) -> Release:
    """Return a new release with its first step."""
    return replace(release, steps=((str(release.state), timestamp(now)),))


def advance(release: Release, state: State, now: datetime.datetime, *, why: str = "") -> Release:
    """Return the release in its next state; raises `ValueError` if that may not follow."""
    if state not in TRANSITIONS[release.state]:
        message = f"release {release.id} cannot go from {release.state} to {state}"
        raise ValueError(message)
    steps = (*release.steps, (str(state), timestamp(now)))
    return replace(release, state=state, steps=steps, why=why or release.why)


def timestamp(now: datetime.datetime) -> str:
    """Return a time as text, to the millisecond."""
    return now.astimezone(datetime.UTC).isoformat(timespec="milliseconds")


def next_id(known: Iterable[str], now: datetime.datetime) -> str:
    """Return the id of the day's next release: `2026.11.24-3` after `2026.11.24-2`."""
    day = now.astimezone(datetime.UTC).strftime("%Y.%m.%d")
    numbers = [int(found[2]) for id_ in known if (found := ID.fullmatch(id_)) and found[1] == day]
    return f"{day}-{max(numbers, default=0) + 1}"


def key(id_: str) -> str:
    """Return an id in a form that sorts by age; raises `UsageError` if it is not an id."""
    found = ID.fullmatch(id_)
    if not found:
        message = f"{id_!r} is not a release id; an id looks like 2026.11.24-3"
        raise UsageError(message)
    return f"{found[1]}-{int(found[2]):06}"


def body(release: Release) -> dict[str, Any]:
    """Return the release as JSON data."""
    texts = {"kind": str(release.kind), "state": str(release.state)}
    agents = [{name: getattr(agent, name) for name in AGENT} for agent in release.agents]
    plain = asdict(replace(release, agents=()))
    return plain | texts | {"agents": agents, "format": FORMAT}


def parse(data: Mapping[str, Any]) -> Release:
    """Return the release from the data that `body`, also of earlier versions, returned.

    Raises:
        UsageError: a later version of acso wrote it.
    """
    fields = dict(data)
    version = fields.pop("format", 1)
    if version > FORMAT:
        message = (
            f"release {data.get('id')} was recorded by a later version of acso (records of version "
            f"{version}; this one reads up to {FORMAT})"
        )
        raise UsageError(message, hint="use that version: check out a newer commit")
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
            "agents": tuple(
                Agent(**item | {"calls": tuple(item["calls"])}) for item in data.get("agents", ())
            ),
            "stack": RecordedStack(**data["stack"]) if data.get("stack") else None,
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
    """An environment's releases, newest first; `owners` has the lock token that wrote each last."""

    releases: tuple[Release, ...]
    owners: Mapping[str, str] = field(default_factory=dict)

    @property
    def current(self) -> Release | None:
        """The last release that succeeded: what the environment should run."""
        return next((item for item in self.releases if item.state is State.SUCCEEDED), None)

    @property
    def stable(self) -> Release | None:
        """The last release that succeeded and did not crash-loop: what a failure returns to."""
        return next((item for item in self.releases if item.stable), None)

    @property
    def unfinished(self) -> tuple[Release, ...]:
        """Releases that are not in a final state, newest first."""
        return tuple(item for item in self.releases if not item.finished)

    @property
    def services(self) -> dict[str, str]:
        """The agents of all services that releases on record list, by service."""
        return {
            entry.service: entry.agent for item in reversed(self.releases) for entry in item.entries
        }

    def before(self, service: str, running: ServiceRevision | None) -> ServiceRevision | None:
        """Return what a service returns to if the next release fails.

        It is the revision in the last stable release; without one, what ran before the oldest
        unfinished release; without one, what runs now.
        """
        if self.stable and service in self.stable.after:
            return _with_settings(self.stable.after[service], running)
        for release in reversed(self.unfinished):
            if service in release.before:
                return release.before[service]
        return running

    def target(self, to: str | None) -> Release | None:
        """Return the target of a rollback: the release of this id, or the last stable one before.

        With an unfinished release, or a current one that is not stable, it is the last stable one:
        the rollback undoes the rest. Raises `UsageError` if `to` is not on record or not stable.
        """
        if to is not None:
            return self._named(to)
        if self.unfinished or self.current is None or not self.current.stable:
            return self.stable
        content = self.current.origin
        stable = [item for item in self.releases if item.stable]
        older = [r for r in stable if r.kind is Kind.DEPLOY and key(r.id) < key(content)]
        return next((item for item in older if _differ(item, stable[0])), None)

    def _named(self, to: str) -> Release:
        key(to)
        found = next((item for item in self.releases if item.id == to), None)
        if found and found.stable:
            return found
        message = f"no validated release {to} is on record"
        if found and found.state is State.SUCCEEDED:
            message = f"cannot roll back to release {to}: {found.why}"
        elif found:
            words = str(found.state).replace("_", " ")
            message = f"cannot roll back to release {to}: it did not succeed ({words})"
        known = ", ".join([item.id for item in self.releases if item.stable][:5]) or "none"
        raise UsageError(message, hint=f"validated releases: {known}")


def _differ(one: Release, other: Release) -> bool:
    """Return whether two releases leave an environment different, as far as both are recorded."""
    stacks = one.stack != other.stack if one.stack and other.stack else False
    if stacks or one.after != other.after:
        return True
    pairs = ((run.settings, other.after[name].settings) for name, run in one.after.items())
    return any(mine != its for mine, its in pairs if mine and its)


def _with_settings(run: ServiceRevision, running: ServiceRevision | None) -> ServiceRevision:
    """Return a revision with the settings that it runs with, if its record has none."""
    if run.settings or running is None or run.revision != running.revision:
        return run
    return replace(run, settings=running.settings)
