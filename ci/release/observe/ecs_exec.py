"""ECS Exec: a command in a task that runs, handed over to AWS's Session Manager plugin.

Source: Amazon ECS Developer Guide, "Monitor Amazon ECS containers with ECS Exec".
"""

import json
import shlex
from collections.abc import Sequence

from ci.aws import ecs
from ci.errors import ExecError
from ci.release.model import ReleaseContext

PLUGIN = "session-manager-plugin"


async def running_task(context: ReleaseContext, agent: str) -> ecs.Task:
    """Return the newest running task of an agent's service; raises `ExecError` without one."""
    service = context.environment.service(context.config.agent(agent))
    aws, cluster = context.aws, context.outputs.cluster
    known = await ecs.tasks(aws, cluster, await ecs.task_ids(aws, cluster))
    mine = [task for task in known if (task.service, task.status) == (service, "RUNNING")]
    if not mine:
        message = f"no task of {agent} runs in {context.environment.name}"
        raise ExecError(message, hint=f"acso status --env {context.environment.name}")
    return max(mine, key=lambda task: task.created_at.timestamp() if task.created_at else 0.0)


async def start_session(
    context: ReleaseContext, task: ecs.Task, command: Sequence[str]
) -> list[str]:
    """Begin a command in a task on AWS; returns the plugin's command line that carries it.

    Raises:
        ExecError: ECS Exec is off in this task, or its agent does not run there.
        AwsError: ECS refuses.
    """
    check(context, task)
    told = await ecs.execute(context.aws, context.outputs.cluster, task, shlex.join(command))
    target = f"ecs:{context.outputs.cluster}_{task.id}_{task.runtime}"
    region = context.aws.region
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return [
        PLUGIN,
        json.dumps(told),
        region,
        "StartSession",
        "",  # no profile: what the plugin asks for is signed by the session's own token
        json.dumps({"Target": target}),
        f"https://ssm.{region}.{domain}",
    ]


def check(context: ReleaseContext, task: ecs.Task) -> None:
    """Raise `ExecError` unless a command can be begun in a task; says what is lacking."""
    env = context.environment.name
    if task.exec_agent is None:
        message = f"task {task.id} was started without ECS Exec"
        hint = f"set ecs_exec = true in [environments.{env}] of acso.toml, then acso deploy"
        raise ExecError(message, hint=f"{hint} --env {env}")
    if task.exec_agent != "RUNNING":
        message = f"ECS Exec's agent in task {task.id} is {task.exec_agent}, not RUNNING"
        hint = (
            "right after a start, wait a moment; otherwise its task role lacks ssmmessages: "
            f"acso deploy --env {env} brings it"
        )
        raise ExecError(message, hint=hint)
