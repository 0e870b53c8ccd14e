"""ECS Exec: run a command in a running task, through AWS's Session Manager plugin.

Source: Amazon ECS Developer Guide, "Monitor Amazon ECS containers with ECS Exec".
"""

import json
import shlex
from collections.abc import Sequence

from ci.aws import ecs, partitions
from ci.errors import ExecError
from ci.release.model import ReleaseContext

PLUGIN = "session-manager-plugin"


async def running_task(context: ReleaseContext, agent: str) -> ecs.Task:
    """Return the newest running task of an agent's service; raises `ExecError` without one."""
    service = context.env.service(context.config.agent(agent))
    aws, cluster = context.aws, context.outputs.cluster
    known = await ecs.tasks(aws, cluster, await ecs.task_ids(aws, cluster))
    mine = [task for task in known if (task.service, task.status) == (service, "RUNNING")]
    if not mine:
        message = f"no task of {agent} runs in {context.env.name}"
        raise ExecError(message, hint=f"./acso status --env {context.env.name}")
    return max(mine, key=lambda task: task.created_at.timestamp() if task.created_at else 0.0)


async def start_session(
    context: ReleaseContext, task: ecs.Task, command: Sequence[str]
) -> list[str]:
    """Start a command in a task on AWS; return the plugin's command line that connects to it.

    Raises:
        ExecError: ECS Exec is off in this task, or its agent does not run.
        AwsError: ECS refused.
    """
    check(context, task)
    started = await ecs.execute(context.aws, context.outputs.cluster, task, shlex.join(command))
    target = f"ecs:{context.outputs.cluster}_{task.id}_{task.runtime}"
    region = context.aws.region
    return [
        PLUGIN,
        json.dumps(started),
        region,
        "StartSession",
        "",  # no AWS profile: the session has its own token
        json.dumps({"Target": target}),
        f"https://ssm.{region}.{partitions.domain(region)}",
    ]


def check(context: ReleaseContext, task: ecs.Task) -> None:
    """Raise `ExecError` unless a command can be started in a task."""
    env = context.env.name
    if task.exec_agent is None:
        message = f"task {task.id} was started without ECS Exec"
        hint = f"set ecs_exec = true in [environments.{env}] of acso.toml, then ./acso deploy"
        raise ExecError(message, hint=f"{hint} --env {env}")
    if task.exec_agent != "RUNNING":
        message = f"ECS Exec's agent in task {task.id} is {task.exec_agent}, not RUNNING"
        hint = (
            "right after a task's start, wait a moment; otherwise its task role misses the "
            f"ssmmessages permissions, which ./acso deploy --env {env} adds"
        )
        raise ExecError(message, hint=hint)
