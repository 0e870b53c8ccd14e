"""The agents' logs: the lines of all agents by time, filtered by a query."""

import datetime
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ci.aws import ecs, logs
from ci.common import tables
from ci.errors import UsageError
from ci.release.model import ReleaseContext
from ci.release.records import table
from ci.release.records.release import Release, key
from ci.release.rollout.watch import poll

POLL_SECONDS = 1.0  # CloudWatch Logs allows five such calls per second and account
LATE_MS = 30_000  # by which a line may arrive later than a newer one of another task
FOREVER = float("inf")
DURATION = re.compile(r"(\d+)([smhdw])")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
#: Control characters; a log line may contain what a client sent, which must not reach a terminal.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
MESSAGE_WIDTH = 40  # columns that a message needs beside its time, agent and level
INDENT = " " * 4


@dataclass(frozen=True, kw_only=True)
class Query:
    """Which lines to return; an empty field does not restrict them.

    `since` is a duration such as 10m or an ISO 8601 time, `release` an id, `grep` a regular
    expression that is searched in the raw line.
    """

    agents: tuple[str, ...] = ()
    since: str = ""
    release: str = ""
    grep: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of one agent's task; `fields` are the other fields of a JSON line."""

    at: datetime.datetime
    agent: str
    task: str
    message: str
    level: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)

    def text(self, width: int = 0, columns: int = 0) -> str:
        """Return the line for people; a traceback follows on separate lines.

        Args:
            width: characters of the longest agent's name.
            columns: of the terminal, 0 for any number. On a narrow one the message is below the
                rest.
        """
        time = self.at.strftime("%Y-%m-%d %H:%M:%S.") + f"{self.at.microsecond // 1000:03}"
        head = f"{time}  {self.agent:<{width}}  {self.level:<7}  "
        if columns and columns < len(head) + MESSAGE_WIDTH:
            lines = [head.rstrip()]
            for part in self.message.splitlines():
                lines += tables.folded(part, width=columns, indent=INDENT)
        else:
            lines = [head + self.message]
        rest = str(self.fields.get("exception", "")).splitlines()
        return CONTROL.sub("", "\n".join([*lines, *(INDENT + line for line in rest)]))

    def data(self) -> dict[str, Any]:
        """Return the line for machines."""
        return {
            "time": self.at.isoformat(timespec="milliseconds"),
            "agent": self.agent,
            "task": self.task,
            "level": self.level,
            "message": self.message,
            "fields": dict(self.fields),
        }


@dataclass(frozen=True, kw_only=True)
class Scope:
    """A resolved query: times in Unix ms, and the tasks that belong to other releases."""

    start: int
    end: int | None = None
    agents: frozenset[str] = frozenset()
    pattern: re.Pattern[str] | None = None
    others: frozenset[str] = frozenset()

    def has(self, event: logs.Event) -> bool:
        """Return whether the query includes an event."""
        agent, _, task = _parts(event.stream)
        if self.agents and agent not in self.agents:
            return False
        return task not in self.others and bool(
            self.pattern is None or self.pattern.search(event.message)
        )


def query(given: Mapping[str, Any]) -> Query:
    """Return the query of a command's arguments."""
    return Query(
        agents=tuple(given.get("agent") or ()),
        since=given.get("since", ""),
        release=given.get("release", ""),
        grep=given.get("grep", ""),
    )


def line(event: logs.Event) -> Line:
    """Return an event as a line: JSON as the agents write it, anything else as the message."""
    agent, _, task = _parts(event.stream)
    at = datetime.datetime.fromtimestamp(event.at / 1000, datetime.UTC)
    try:
        data = json.loads(event.message)
    except ValueError:
        data = None
    if not isinstance(data, dict) or "message" not in data:
        return Line(at=at, agent=agent, task=task, message=event.message)
    level, message = str(data.pop("level", "")), str(data.pop("message"))
    rest = {name: value for name, value in data.items() if name not in ("time", "agent")}
    return Line(at=at, agent=agent, task=task, level=level, message=message, fields=rest)


def moment(since: str, now: datetime.datetime) -> datetime.datetime:
    """Return the time given as a duration before now, or in ISO 8601 (UTC without a zone).

    Raises:
        UsageError: it is neither, or the time is before the year 1.
    """
    if found := DURATION.fullmatch(since):
        try:
            return now - datetime.timedelta(seconds=int(found[1]) * SECONDS[found[2]])
        except (OverflowError, ValueError):  # also more digits than Python converts
            message = f"{since!r} is too long a duration"
            raise UsageError(message, hint="examples: 30s, 10m, 2h, 1d") from None
    try:
        at = datetime.datetime.fromisoformat(since)
    except ValueError:
        message = f"{since!r} is not a duration or time"
        raise UsageError(message, hint="examples: 30s, 10m, 2h, 1d, 2026-11-24T12:00") from None
    return at if at.tzinfo else at.replace(tzinfo=datetime.UTC)


async def scope(context: ReleaseContext, query: Query) -> Scope:
    """Resolve a query; raises `UsageError` on an invalid agent, time, release or pattern."""
    agents = frozenset(context.config.agent(name).name for name in query.agents)
    since = moment(query.since, context.clock.now()) if query.since else None
    pattern = expression(query.grep) if query.grep else None
    if not query.release:
        start = since or moment("10m", context.clock.now())
        return Scope(start=_ms(start), agents=agents, pattern=pattern)
    releases = (await table.history(context)).releases
    release = _release(releases, query.release)
    began, end = span(releases, release)
    return Scope(
        start=_ms(max(since, began) if since else began),
        end=_ms(end) if end else None,
        agents=agents,
        pattern=pattern,
        others=await _others(context, release),
    )


def span(
    releases: Sequence[Release], release: Release
) -> tuple[datetime.datetime, datetime.datetime | None]:
    """Return when a release began, and when the next one did (None for the newest); pure."""
    later = [item for item in releases if key(item.id) > key(release.id)]
    following = min(later, key=lambda item: key(item.id), default=None)
    began = datetime.datetime.fromisoformat(release.created_at)
    return began, datetime.datetime.fromisoformat(following.created_at) if following else None


async def read(context: ReleaseContext, wanted: Scope) -> list[Line]:
    """Return the lines, oldest first."""
    return [
        line(event) for event in await _events(context, wanted, wanted.start) if wanted.has(event)
    ]


async def render(context: ReleaseContext, asked: Query, *, as_json: bool = False) -> str:
    """Return the lines as one text: for people, or as JSON, one object on each line."""
    lines = await read(context, await scope(context, asked))
    width = max((len(item.agent) for item in lines), default=0)
    return "\n".join(json.dumps(i.data()) if as_json else i.text(width) for i in lines)


async def follow(context: ReleaseContext, wanted: Scope, tell: Callable[[Line], None]) -> None:
    """Report each line, then each new line as it arrives, until cancelled.

    The lines of one poll are in order; a line that arrives late is reported late. A scope that
    has an end is read once.
    """
    start, seen = wanted.start, frozenset[object]()

    async def look() -> bool | None:
        nonlocal start, seen
        events = await _events(context, wanted, start)
        for event in events:
            if _identity(event) not in seen and wanted.has(event):
                tell(line(event))
        if events:
            start = max(start, events[-1].at - LATE_MS)
        seen = frozenset(_identity(event) for event in events if event.at >= start)
        return True if wanted.end is not None else None

    await poll(context, look, FOREVER, every=POLL_SECONDS)


async def _events(context: ReleaseContext, wanted: Scope, start: int) -> list[logs.Event]:
    only = next(iter(wanted.agents)) if len(wanted.agents) == 1 else ""
    prefix = f"{only}/" if only else ""
    group = context.outputs.log_group
    return await logs.events_between(context.aws, group, start=start, end=wanted.end, prefix=prefix)


async def _others(context: ReleaseContext, release: Release) -> frozenset[str]:
    """Return the tasks, of those that ECS still lists, that run revisions of other releases."""
    aws, cluster = context.aws, context.outputs.cluster
    known = await ecs.all_tasks(aws, cluster)
    revisions = {run.revision for run in release.after.values()}
    return frozenset(task.id for task in known if task.revision not in revisions)


def _release(releases: Sequence[Release], id_: str) -> Release:
    key(id_)  # raises if it is not a release id
    for release in releases:
        if release.id == id_:
            return release
    message = f"release {id_} is not on record"
    known = ", ".join(item.id for item in releases[:5]) or "none"
    raise UsageError(message, hint=f"the newest releases: {known}")


def expression(text: str) -> re.Pattern[str]:
    """Return the compiled expression; raises `UsageError` if it is invalid."""
    try:
        return re.compile(text)
    except re.error as error:
        message = f"{text!r} is not a valid regular expression: {error}"
        raise UsageError(message, hint=r"escape special characters, as in \[") from None


def _parts(stream: str) -> tuple[str, str, str]:
    """Return agent, container and task of a stream's name."""
    agent, _, rest = stream.partition("/")
    container, _, task = rest.rpartition("/")
    return agent, container, task


def _identity(event: logs.Event) -> object:
    return event.id or (event.stream, event.at, event.message)


def _ms(at: datetime.datetime) -> int:
    return int(at.timestamp() * 1000)
