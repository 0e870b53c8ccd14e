"""Why tasks failed: what ECS says of them, and the last lines that they wrote."""

from dataclasses import dataclass
from typing import Any

from ci.aws import logs
from ci.aws.ecs import Task
from ci.common.concurrency import parallel
from ci.errors import AwsError
from ci.release.model import ReleaseContext
from ci.release.rollout.verdict import Goal, Seen, Verdict

LINES = 20
SHOWN_TASKS = 2  # a crash repeats itself: the newest failures tell it all
LOG_SECONDS = 2.0  # the log driver may be a moment behind the container's end
LOG_PAUSE = 0.1

CONSOLE = "console.aws.amazon.com"
#: Consoles of AWS's other partitions, by the beginning of their regions' names.
CONSOLES = (("cn-", "console.amazonaws.cn"), ("us-gov-", "console.amazonaws-us-gov.com"))

#: Exit codes with a meaning of their own. Source: bash manual, "Exit Status"; signal(7).
EXIT_CODES = {
    0: "ended without an error although it should keep running",
    126: "the command cannot be executed",
    127: "the command was not found",
    134: "aborted (SIGABRT)",
    137: "killed (SIGKILL: out of memory, or did not stop in time)",
    139: "crashed (SIGSEGV)",
    143: "was told to stop (SIGTERM)",
}


@dataclass(frozen=True, kw_only=True)
class TaskFailure:
    """One failed task of a release: what ECS and the load balancer say, and its last lines.

    `link` is its page in AWS's console; empty where there is none, as on the embedded AWS.
    """

    agent: str
    task: str
    what: str
    stop_code: str = ""
    reason: str = ""
    exit_code: int | None = None
    health: str = ""
    container: str = ""
    target: str = ""
    link: str = ""
    log: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the failure as indented lines."""
        health = f"health {self.health.lower()}" if self.health not in ("", "UNKNOWN") else ""
        target = f"target {self.target}" if self.target else ""
        told = (f"task {self.task}", self.container, self.stop_code, health, target)
        lines = [f"  {self.what}", f"    {', '.join(part for part in told if part)}"]
        lines += [f"    | {line}" for line in self.log]
        return "\n".join([*lines, *([f"    {self.link}"] if self.link else [])])

    def data(self) -> dict[str, Any]:
        """Return the failure for machines and for the record."""
        return {
            "agent": self.agent,
            "task": self.task,
            "what": self.what,
            "stop_code": self.stop_code,
            "reason": self.reason,
            "exit_code": self.exit_code,
            "health": self.health,
            "container": self.container,
            "target": self.target,
            "link": self.link,
            "log": list(self.log),
        }


def exit_words(code: int, reason: str = "") -> str:
    """Say an exit code in words; the container's own reason knows of missing memory."""
    if "OutOfMemory" in reason:
        return f"exit code {code}: out of memory"
    if code in EXIT_CODES:
        return f"exit code {code}: {EXIT_CODES[code]}"
    return f"exit code {code}: killed by signal {code - 128}" if code > 128 else f"exit code {code}"


def describe(task: Task) -> str:
    """Say in one line how a task ended, or what is wrong with it while it runs."""
    parts = []
    if task.exit_code is not None:
        parts.append(exit_words(task.exit_code, task.container_reason))
    if task.container_reason and "OutOfMemory" not in task.container_reason:
        parts.append(task.container_reason)
    if task.stopped_reason:
        parts.append(task.stopped_reason)
    if task.health == "UNHEALTHY":
        parts.append("its health check fails")
    return "; ".join(dict.fromkeys(parts)) or f"task is {task.status.lower()}"


async def collect(
    context: ReleaseContext, goal: Goal, verdict: Verdict, seen: Seen | None = None
) -> list[TaskFailure]:
    """Return why the verdict's failing tasks failed, newest first.

    A log that cannot be read says so in its place; it is never an error of its own.

    Args:
        context: where the service is.
        goal: what it was to run.
        verdict: the judgement with its failing tasks.
        seen: what that was judged by, for what the load balancer says of them.
    """
    newest = sorted(
        verdict.failing, key=lambda task: task.created_at.timestamp() if task.created_at else 0.0
    )[::-1][:SHOWN_TASKS]
    lines = await parallel(lambda task: _log(context, goal, task), newest)
    return [
        TaskFailure(
            agent=goal.agent,
            task=task.id,
            what=describe(task),
            stop_code=task.stop_code,
            reason=task.stopped_reason,
            exit_code=task.exit_code,
            health=task.health,
            container=task.container,
            target=_target(task, seen),
            link=link(context, task.id),
            log=tuple(log),
        )
        for task, log in zip(newest, lines, strict=True)
    ]


def link(context: ReleaseContext, task: str) -> str:
    """Return the page of a task in AWS's console; empty where another endpoint stands in."""
    if context.aws.endpoint is not None:
        return ""
    region, cluster = context.aws.region, context.outputs.cluster
    host = next((host for start, host in CONSOLES if region.startswith(start)), CONSOLE)
    page = f"ecs/v2/clusters/{cluster}/tasks/{task}/configuration?region={region}"
    return f"https://{region}.{host}/{page}"


def _target(task: Task, seen: Seen | None) -> str:
    """Return what the load balancer says of a task, where that is anything but well."""
    targets = (seen.targets or ()) if seen and task.address else ()
    return next(
        (str(item) for item in targets if item.address == task.address and item.state != "healthy"),
        "",
    )


async def _log(context: ReleaseContext, goal: Goal, task: Task) -> list[str]:
    """Return a task's last lines, waiting a moment for those of one that has just ended."""
    if task.stop_code == "TaskFailedToStart":
        return []  # nothing ran
    container = context.config.agent(goal.agent).container
    stream = f"{goal.agent}/{container}/{task.id}"
    deadline = context.clock.monotonic() + LOG_SECONDS
    seen: list[str] | None = None
    while True:
        try:
            lines = await logs.tail(context.aws, context.outputs.log_group, stream, lines=LINES)
        except AwsError as error:
            return [f"(log not readable: {error})"]
        # Two looks with the same lines: the driver has caught up.
        if (lines and lines == seen) or context.clock.monotonic() >= deadline:
            return lines
        seen = lines
        await context.clock.sleep(LOG_PAUSE)
