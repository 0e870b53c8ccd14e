"""Crash loops: tasks that end again and again after their release has succeeded.

ECS starts such tasks for ever, and in between each looks well: whoever looks next has to notice.
"""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ci.aws import ecs
from ci.aws.ecs import Task
from ci.errors import AwsError
from ci.release.model import ReleaseContext
from ci.release.records import table
from ci.release.records.release import UNSTABLE, History, Release, State
from ci.release.rollout.verdict import ended_in_failure

WINDOW = datetime.timedelta(minutes=10)
LOOP = 3  # ends of one service's tasks within the window that are a crash loop
#: Units of an age and their seconds, from the age (seconds) at which each is used.
UNITS = ((172_800, 86_400, "d"), (7_200, 3_600, "h"), (120, 60, "min"))


@dataclass(frozen=True, kw_only=True)
class Examined:
    """The history with the current release marked if it crash-loops, and what was seen now.

    `looping` says which agents crash-loop now, empty if none does; `notes` what was marked.
    """

    history: History
    looping: str = ""
    notes: tuple[str, ...] = ()


async def examine(context: ReleaseContext, history: History) -> Examined:
    """Look for a crash loop of the current release's tasks, and mark the release on record."""
    if history.current is None:
        return Examined(history=history)
    try:
        tasks = await ecs.all_tasks(context.aws, context.outputs.cluster)
    except AwsError as error:
        note = f"whether release {history.current.id} crash-loops was not examined: {error}"
        return Examined(history=history, notes=(note,))
    return await mark(context, history, tasks)


async def mark(context: ReleaseContext, history: History, tasks: Sequence[Task]) -> Examined:
    """Mark the current release as unstable if its tasks crash-loop.

    It is never a rollback target again. A mark that cannot be written is a note: this command acts
    by it, and the next one looks again.
    """
    release = history.current
    looping = crash_loop(release, tasks, context.clock.now()) if release else ""
    if release is None or not looping or not release.stable:
        return Examined(history=history, looping=looping)
    marked = replace(release, outcome=UNSTABLE, why=f"it crash-looped after its end: {looping}")
    back = next((item.id for item in history.releases if item.stable and item is not release), "")
    to = f"a failure returns to {back}" if back else "there is no release to return to"
    notes = [f"release {release.id} crash-loops: {looping}; it is no rollback target, {to}"]
    try:
        # With the token of the record's own writer: nobody writes a finished release otherwise.
        await table.write(context, marked, history.owners.get(release.id, ""))
    except AwsError as error:
        notes.append(f"that could not be recorded: {error}")
    releases = tuple(marked if item is release else item for item in history.releases)
    return Examined(history=replace(history, releases=releases), looping=looping, notes=(*notes,))


def crash_loop(release: Release, tasks: Iterable[Task], now: datetime.datetime) -> str:
    """Describe which agents of a release crash-loop since its end, empty if none does; pure.

    Only containers that end by themselves count: a lack of capacity, a failed pull or a health
    check on a busy machine says nothing about the release.
    """
    ended = release.at(State.SUCCEEDED)
    since = max(now - WINDOW, datetime.datetime.fromisoformat(ended) if ended else now)
    since = since.replace(microsecond=0)  # times of tasks may be whole seconds
    crashes = [
        task
        for task in failures(tasks)
        if task.stop_code == "EssentialContainerExited"
        and "health check" not in task.stopped_reason
        and (task.stopped_at or now) >= since
    ]
    found = []
    for entry in release.entries:
        own = [t for t in crashes if entry.after and t.revision == entry.after.revision]
        if len(own) >= LOOP:
            found.append(f"{entry.agent} {restarts_text(own, now)}")
    return ", ".join(found)


def failures(tasks: Iterable[Task], revision: str = "") -> list[Task]:
    """Return the tasks that failed, of a revision if one is given; one-off tasks do not count."""
    return [
        task
        for task in tasks
        if task.service and ended_in_failure(task) and revision in ("", task.revision)
    ]


def recent(failed: Sequence[Task], now: datetime.datetime) -> list[Task]:
    """Return the tasks that failed within the window."""
    return [task for task in failed if (task.stopped_at or now) >= now - WINDOW]


def restarts_text(failed: Sequence[Task], now: datetime.datetime) -> str:
    """Describe failed tasks: how many, and in which time."""
    first = min((task.created_at for task in failed if task.created_at), default=now)
    return f"restarted {len(failed)} times in {age_text((now - first).total_seconds())}"


def newest_age(tasks: Iterable[Task], revision: str, now: datetime.datetime) -> float | None:
    """Return the seconds since the newest running task of a revision was created; None: none."""
    created = [
        task.created_at
        for task in tasks
        if task.created_at and task.revision == revision and task.status == "RUNNING"
    ]
    return max(0.0, (now - max(created)).total_seconds()) if created else None


def age_text(seconds: float) -> str:
    """Return a duration for people: 45 s, 3 min, 2 h, 5 d."""
    for least, size, unit in UNITS:
        if seconds >= least:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
