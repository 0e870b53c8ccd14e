"""One-off tasks: run a command in an agent's image, with its role, in its network."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anyio

from ci.aws import ecs, logs
from ci.config import Agent
from ci.errors import AwsError, TaskFailedError, UsageError
from ci.release.model import ReleaseContext, Say
from ci.release.observe.failures import LINES, describe, link
from ci.release.observe.one_off_tasks import bounded, started_by, stop_overdue_tasks
from ci.release.plan import desired
from ci.release.rollout.watch import poll

DEFAULT_TIMEOUT = 3600  # seconds
POLL_SECONDS = 0.5
QUIET_SECONDS = 1.5  # without a new line, after which a stopped task's log counts as complete
DRAIN_SECONDS = 10.0  # at most, to wait for a stopped task's last lines
STOP_SECONDS = 10.0  # at most, for the StopTask call


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """A one-off task that has ended; `exit_code` is None if it never started."""

    agent: str
    task: ecs.Task
    log: tuple[str, ...]
    link: str = ""

    @property
    def exit_code(self) -> int | None:
        """The command's own exit code."""
        return self.task.exit_code

    def text(self) -> str:
        """Return the task's log."""
        return "\n".join(self.log)

    def data(self) -> dict[str, Any]:
        """Return the result for machines."""
        return {
            "agent": self.agent,
            "task": self.task.id,
            "revision": self.task.revision,
            "exit_code": self.exit_code,
            "what": describe(self.task),
            "link": self.link,
            "log": list(self.log),
        }

    def raise_for_failure(self) -> None:
        """Raise `TaskFailedError`, with the last log lines, unless the exit code is 0."""
        if self.exit_code == 0:
            return
        lines = [f"the task of {self.agent} failed: {describe(self.task)}"]
        lines += [f"    | {text}" for text in self.log[-LINES:]]
        raise TaskFailedError("\n".join(lines), hint=self.link, details=self.data())


async def run_task(
    context: ReleaseContext,
    agent: str,
    command: Sequence[str],
    *,
    tell: Say,
    say: Say,
    seconds: float = DEFAULT_TIMEOUT,
) -> TaskResult:
    """Run a command in a task of the revision that an agent's service runs; wait for its end.

    The task belongs to no service: it gets no requests and is not restarted. It is stopped if
    this is cancelled, fails, or takes too long. If this process is killed, the task ends by itself
    after its timeout. Earlier tasks past their deadline are stopped first.

    Args:
        context: the environment.
        agent: the agent whose image, role, size and network the task gets.
        command: what to run in its container, in place of the agent.
        tell: receives each line of the task's log.
        say: receives progress messages, one line each.
        seconds: the timeout.

    Raises:
        UsageError: there is no such agent, or it does not run in this environment.
        AwsError: ECS has no capacity for the task, or an AWS call failed.
        TaskFailedError: the task took too long.
    """
    if not command:
        message = "no command was given"
        raise UsageError(
            message, hint=f"./acso run-task --env {context.env.name} --agent X -- COMMAND"
        )
    known = context.config.agent(agent)
    revision = await _revision(context, known)
    await stop_overdue_tasks(context, say)
    task = await ecs.run_task(context.aws, request(context, known, revision, command, seconds))
    say(f"task {task.id} of {agent}, revision {task.revision.rpartition(':')[2]}")
    watched = _RunningTask(context, known, task, tell)
    try:
        ended = await poll(context, watched.look, seconds, every=POLL_SECONDS)
    except BaseException:
        await _stop(context, task, say)
        raise
    if ended is None:
        await _stop(context, task, say)
        message = f"the task of {agent} did not end within {seconds:g} s and was stopped"
        raise TaskFailedError(message, hint="allow more time: --seconds N")
    await watched.drain(ended)
    return TaskResult(agent=agent, task=ended, log=tuple(watched.log), link=link(context, task.id))


def request(
    context: ReleaseContext, agent: Agent, revision: str, command: Sequence[str], seconds: float
) -> dict[str, Any]:
    """Return the RunTask request: the service's revision and network, another command.

    The command override replaces CMD; the agents' images have no ENTRYPOINT.
    """
    service = desired.service(context, agent, revision=revision)
    deadline = context.clock.now() + datetime.timedelta(seconds=seconds)
    override = {"name": agent.container, "command": bounded(command, seconds)}
    return {
        "cluster": context.outputs.cluster,
        "taskDefinition": revision,
        "launchType": service["launchType"],
        "networkConfiguration": service["networkConfiguration"],
        "overrides": {"containerOverrides": [override]},
        "startedBy": started_by(deadline),
    }


class _RunningTask:
    """A one-off task that runs, and how far its log has been read."""

    def __init__(self, context: ReleaseContext, agent: Agent, task: ecs.Task, tell: Say) -> None:
        self._context, self._task, self._tell = context, task, tell
        self._stream = f"{agent.name}/{agent.container}/{task.id}"
        self._token = ""
        self.log: list[str] = []

    async def look(self) -> ecs.Task | None:
        """Report new log lines; return the task once it has stopped."""
        # The state first: lines written before the task stopped are then not missed.
        found = await ecs.tasks(self._context.aws, self._context.outputs.cluster, [self._task.id])
        await self._read()
        return found[0] if found and found[0].status == "STOPPED" else None

    async def drain(self, task: ecs.Task) -> None:
        """Report the lines that arrive after the task's end: the log driver lags behind."""
        if task.stop_code == "TaskFailedToStart":
            return  # nothing ran
        clock = self._context.clock
        last = clock.monotonic()

        async def look() -> bool | None:
            nonlocal last
            if await self._read():
                last = clock.monotonic()
            return True if clock.monotonic() - last >= QUIET_SECONDS else None

        await poll(self._context, look, DRAIN_SECONDS, every=POLL_SECONDS)

    async def _read(self) -> bool:
        """Read to the current end of the log; return whether there were new lines."""
        before, group = len(self.log), self._context.outputs.log_group
        while True:
            token = self._token
            lines, self._token = await logs.next_lines(
                self._context.aws, group, self._stream, token
            )
            for text in lines:
                self.log.append(text)
                self._tell(text)
            if self._token == token:  # "at the end of the stream": API reference, GetLogEvents
                return len(self.log) > before


async def _revision(context: ReleaseContext, agent: Agent) -> str:
    name = context.env.service(agent)
    found = (await ecs.services(context.aws, context.outputs.cluster, [name])).get(name)
    if found is None or found.status != "ACTIVE":
        message = f"agent {agent.name} does not run in {context.env.name}"
        raise UsageError(message, hint=f"deploy it: ./acso deploy --env {context.env.name}")
    return found.revision


async def _stop(context: ReleaseContext, task: ecs.Task, say: Say) -> None:
    """Stop the task, also while this is being cancelled."""
    with anyio.move_on_after(STOP_SECONDS, shield=True):
        try:
            await ecs.stop_task(
                context.aws, context.outputs.cluster, task.id, reason="acso run-task was stopped"
            )
            say(f"task {task.id} is stopped")
        except AwsError as error:
            say(f"task {task.id} may still run, it could not be stopped: {error}")
