"""One-off tasks of `run-task`, found by what started them, with the deadline that each carries.

A killed `run-task` cannot stop its task. The task ends by itself shortly after its deadline
(`bounded`); if it does not, the next command that finds it stops it.
"""

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ci.aws import ecs
from ci.release.model import ReleaseContext, Say, agents_of

#: `startedBy` of a task: this, the deadline in seconds since 1970, and perhaps what it is for.
#: Source: ECS API Reference, RunTask: letters, digits, hyphens, slashes, underscores; 128 at most.
STARTED_BY = "acso-run-task"
PATTERN = re.compile(rf"{STARTED_BY}/(\d+)(?:/(\w+))?")
#: Seconds after the timeout at which the task ends itself, unless `run-task` has stopped it before.
MARGIN_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class OneOffTask:
    """A one-off task that has not stopped, and when it must have."""

    id: str
    agent: str
    deadline: datetime.datetime
    overdue: bool

    def text(self) -> str:
        """Return one line about it."""
        until = f"{self.deadline:%Y-%m-%d %H:%M:%S} UTC"
        if self.overdue:
            return (
                f"one-off task {self.id} of {self.agent} should have ended at {until}; the next "
                "`deploy`, `rollback` or `run-task` stops it"
            )
        return f"one-off task {self.id} of {self.agent} runs, until {until} at the latest"


def started_by(deadline: datetime.datetime, *, what: str = "") -> str:
    """Return the `startedBy` of a one-off task."""
    return f"{STARTED_BY}/{int(deadline.timestamp())}{f'/{what}' if what else ''}"


def started_for(text: str) -> str:
    """Return what a one-off task is for, by its `startedBy`; "" if that does not say it."""
    match = PATTERN.fullmatch(text)
    return (match[2] or "") if match else ""


def bounded(command: Sequence[str], seconds: float) -> list[str]:
    """Return a command that ends by itself after a timeout (`timeout` of GNU coreutils)."""
    return ["timeout", "--kill-after=10", f"{seconds + MARGIN_SECONDS:g}", *command]


async def one_off_tasks(context: ReleaseContext) -> list[OneOffTask]:
    """Return the environment's one-off tasks that have not stopped."""
    cluster = context.outputs.cluster
    found = await ecs.tasks(context.aws, cluster, await ecs.task_ids(context.aws, cluster))
    return [task for item in found if (task := _one_off(context, item))]


async def stop_overdue_tasks(context: ReleaseContext, say: Say) -> None:
    """Stop the one-off tasks that are past their deadline; raises `AwsError`."""
    for task in await one_off_tasks(context):
        if task.overdue:
            reason = "past the deadline of acso run-task"
            await ecs.stop_task(context.aws, context.outputs.cluster, task.id, reason=reason)
            say(f"one-off task {task.id} of {task.agent} was past its deadline and is stopped")


def _one_off(context: ReleaseContext, task: ecs.Task) -> OneOffTask | None:
    match = PATTERN.fullmatch(task.started_by)
    if match is None or task.status == "STOPPED":
        return None
    deadline = datetime.datetime.fromtimestamp(int(match[1]), datetime.UTC)
    late = datetime.timedelta(seconds=MARGIN_SECONDS)
    family = task.revision.rpartition("/")[2].partition(":")[0]
    agent = agents_of(context.config, context.env).get(family)
    return OneOffTask(
        id=task.id,
        agent=agent.name if agent else family,
        deadline=deadline,
        overdue=context.clock.now() > deadline + late,
    )
