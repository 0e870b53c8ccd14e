"""Why tasks failed: what ECS and the load balancer report, and the last log lines."""

from dataclasses import dataclass
from typing import Any

from ci.aws import logs
from ci.aws.ecs import Task
from ci.common.concurrency import parallel
from ci.errors import AwsError
from ci.release.model import ReleaseContext
from ci.release.rollout.verdict import Expectation, Snapshot, Verdict

LINES = 20
SHOWN_TASKS = 2  # of one service: its tasks mostly fail in the same way
LOG_SECONDS = 2.0  # at most, for the log driver to catch up after a container's end
LOG_PAUSE = 0.1

CONSOLE = "console.aws.amazon.com"
#: Consoles of AWS's other partitions, by the prefix of their regions.
CONSOLES = (("cn-", "console.amazonaws.cn"), ("us-gov-", "console.amazonaws-us-gov.com"))

#: Exit codes with a meaning of their own. Source: bash manual, "Exit Status"; signal(7).
EXIT_CODES = {
    0: "ended without an error although it should keep running",
    126: "the command cannot be executed",
    127: "the command was not found",
    134: "aborted (SIGABRT)",
    137: "killed (SIGKILL: out of memory, or did not stop in time)",
    139: "crashed (SIGSEGV)",
    143: "stopped (SIGTERM)",
}


@dataclass(frozen=True, kw_only=True)
class TaskFailure:
    """One failed task of a release: what ECS and the load balancer report, and its last log lines.

    `link` is the task's page in AWS's console; empty if there is none, as on the embedded AWS.
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
        facts = (f"task {self.task}", self.container, self.stop_code, health, target)
        lines = [f"  {self.what}", f"    {', '.join(part for part in facts if part)}"]
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
    """Describe an exit code; `reason` is the container's, which names a lack of memory."""
    if "OutOfMemory" in reason:
        return f"exit code {code}: out of memory"
    if code in EXIT_CODES:
        return f"exit code {code}: {EXIT_CODES[code]}"
    return f"exit code {code}: killed by signal {code - 128}" if code > 128 else f"exit code {code}"


def describe(task: Task) -> str:
    """Describe in one line how a task ended, or what is wrong with a running one."""
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
    context: ReleaseContext,
    expectation: Expectation,
    verdict: Verdict,
    snapshot: Snapshot | None = None,
) -> list[TaskFailure]:
    """Return why a verdict's failed tasks failed, newest first.

    A log that cannot be read raises nothing: a note stands in its place.

    Args:
        context: the environment.
        expectation: what the service should run.
        verdict: the verdict with its failed tasks.
        snapshot: the snapshot behind it, for the state of the targets.
    """
    newest = sorted(
        verdict.failed_tasks,
        key=lambda task: task.created_at.timestamp() if task.created_at else 0.0,
    )[::-1][:SHOWN_TASKS]
    lines = await parallel(lambda task: _log(context, expectation, task), newest)
    return [
        TaskFailure(
            agent=expectation.agent,
            task=task.id,
            what=_silence(context, expectation, task, snapshot) or describe(task),
            stop_code=task.stop_code,
            reason=task.stopped_reason,
            exit_code=task.exit_code,
            health=task.health,
            container=task.container,
            target=_target(task, snapshot),
            link=link(context, task.id),
            log=tuple(log),
        )
        for task, log in zip(newest, lines, strict=True)
    ]


def link(context: ReleaseContext, task: str) -> str:
    """Return the URL of a task in AWS's console; empty if another endpoint is in use."""
    if context.aws.endpoint is not None:
        return ""
    region, cluster = context.aws.region, context.outputs.cluster
    host = next((host for start, host in CONSOLES if region.startswith(start)), CONSOLE)
    page = f"ecs/v2/clusters/{cluster}/tasks/{task}/configuration?region={region}"
    return f"https://{region}.{host}/{page}"


def _silence(
    context: ReleaseContext, expectation: Expectation, task: Task, snapshot: Snapshot | None
) -> str:
    """Describe a running task that accepts no connection; empty for any other.

    Source: Elastic Load Balancing User Guide, "Target health reason codes": with
    Target.FailedHealthChecks and no response codes, the load balancer could not connect.
    """
    targets = (snapshot.targets or ()) if snapshot and task.status == "RUNNING" else ()
    refused = any(
        item.address == task.address
        and item.code == "Target.FailedHealthChecks"
        and "codes" not in item.reason
        for item in targets
    )
    if snapshot is None or not refused:
        return ""
    port, age = context.config.agent(expectation.agent).port, snapshot.ages.get(task.id, 0.0)
    return f"nothing listened on port {port} for {age:.0f} s"


def _target(task: Task, snapshot: Snapshot | None) -> str:
    """Return the state of a task's target, unless it is healthy."""
    targets = (snapshot.targets or ()) if snapshot and task.address else ()
    return next(
        (str(item) for item in targets if item.address == task.address and item.state != "healthy"),
        "",
    )


async def _log(context: ReleaseContext, expectation: Expectation, task: Task) -> list[str]:
    """Return a task's last log lines, after the log driver had a moment to catch up."""
    if task.stop_code == "TaskFailedToStart":
        return []  # nothing ran
    container = context.config.agent(expectation.agent).container
    stream = f"{expectation.agent}/{container}/{task.id}"
    deadline = context.clock.monotonic() + LOG_SECONDS
    seen: list[str] | None = None
    while True:
        try:
            lines = await logs.tail(context.aws, context.outputs.log_group, stream, lines=LINES)
        except AwsError as error:
            return [f"(log not readable: {error})"]
        # The same lines twice: the driver has caught up.
        if (lines and lines == seen) or context.clock.monotonic() >= deadline:
            return lines
        seen = lines
        await context.clock.sleep(LOG_PAUSE)
