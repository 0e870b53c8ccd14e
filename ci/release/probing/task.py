"""The prober's task: its definition, its start, and its end."""

import datetime
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci.aws import canonical, ecs, prober
from ci.aws.probing.channel import Channel, last_beat
from ci.aws.session import Aws
from ci.release.model import Say
from ci.release.observe.one_off_tasks import bounded, started_by, started_for

#: Its name in those of its definition and log. No agent's name has an underscore.
NAME = "_probe"
CONTAINER = "probe"
CPU, MEMORY = "256", "512"  # the smallest task of Fargate
USER = "10001:10001"  # of the agents' images
LIFE_SECONDS = 3600  # after which it ends by itself; its client then starts another
#: Seconds without a sign of life of its client, after which a prober counts as left behind: it
#: should have ended by itself.
LEFT_SECONDS = 2 * prober.SILENCE_SECONDS


@dataclass(frozen=True, kw_only=True)
class ProberSettings:
    """What a prober is made from: names, ids and ARNs of the environment, and an agent's image.

    `url` is the load balancer's base URL as tasks reach it; `table` has the rows of requests.
    """

    prefix: str  # of the environment's names
    region: str
    cluster: str
    subnets: tuple[str, ...]
    security_group: str
    role: str
    execution_role: str
    log_group: str
    table: str
    url: str
    image: str
    architecture: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Prober:
    """Starts and stops tasks that probe."""

    aws: Aws
    settings: ProberSettings
    channel: Channel

    async def start(self) -> ecs.Task:
        """Start a task; raises `AwsError` if ECS refuses it or has no capacity."""
        revision = await self._revision()
        return await ecs.run_task(self.aws, self._request(revision))

    async def state(self, task: ecs.Task) -> ecs.Task:
        """Return the task as it is now."""
        found = await ecs.tasks(self.aws, self.settings.cluster, [task.id])
        return found[0] if found else task

    async def stop(self, task: ecs.Task) -> None:
        """Stop the task, and remove its rows."""
        reason = "acso does not need it any more"
        await ecs.stop_task(self.aws, self.settings.cluster, task.id, reason=reason)
        await self.channel.clear()

    async def stop_left(self, say: Say) -> None:
        """Stop probers that a killed command has left, if they have not ended by themselves."""
        cluster = self.settings.cluster
        for task in await ecs.tasks(self.aws, cluster, await ecs.task_ids(self.aws, cluster)):
            if _is_prober(task) and task.status != "STOPPED" and await self._is_left(task):
                reason = "its acso command is gone"
                await ecs.stop_task(self.aws, cluster, task.id, reason=reason)
                say(f"prober {task.id} was left by a command that is gone, and is stopped")

    async def _is_left(self, task: ecs.Task) -> bool:
        beat = await last_beat(self.aws, self.settings.table, started_for(task.started_by))
        created = task.created_at.timestamp() if task.created_at else 0.0
        return time.time() - max(beat, created) > LEFT_SECONDS

    async def _revision(self) -> str:
        """Return the newest revision if it is the wanted one; else register it."""
        wanted = self._definition()
        known = await ecs.revisions(self.aws, str(wanted["family"]))
        if known:
            found = await ecs.task_definition(self.aws, known[0])
            if found is not None and found.content == canonical.definition(wanted):
                return known[0]
        made = await ecs.register(self.aws, wanted)
        for old in known:  # running tasks keep theirs
            await ecs.deregister(self.aws, old)
        return made.revision

    def _definition(self) -> dict[str, Any]:
        """Return the RegisterTaskDefinition request: the same for the same image and settings."""
        found = self.settings
        return {
            "family": f"{found.prefix}-{NAME}",
            "requiresCompatibilities": ["FARGATE"],
            "networkMode": "awsvpc",
            "cpu": CPU,
            "memory": MEMORY,
            "runtimePlatform": {
                "cpuArchitecture": found.architecture,
                "operatingSystemFamily": "LINUX",
            },
            "executionRoleArn": found.execution_role,
            "taskRoleArn": found.role,
            "containerDefinitions": [self._container()],
            "tags": [{"key": key, "value": value} for key, value in found.tags.items()],
        }

    def _container(self) -> dict[str, Any]:
        found = self.settings
        environment = {
            "ACSO_PROBE_SECONDS": str(LIFE_SECONDS),
            "ACSO_PROBE_TABLE": found.table,
            "ACSO_PROBE_URL": found.url,
            "AWS_REGION": found.region,
        }
        program = Path(prober.__file__).read_text(encoding="utf-8")
        return {
            "name": CONTAINER,
            "image": found.image,
            "essential": True,
            "command": bounded(["python", "-c", program], LIFE_SECONDS),
            "environment": [{"name": k, "value": v} for k, v in environment.items()],
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {
                    "awslogs-group": found.log_group,
                    "awslogs-region": found.region,
                    "awslogs-stream-prefix": NAME,
                },
            },
            "linuxParameters": {"initProcessEnabled": True},
            "readonlyRootFilesystem": True,
            "user": USER,
        }

    def _request(self, revision: str) -> dict[str, Any]:
        found = self.settings
        life = datetime.timedelta(seconds=LIFE_SECONDS)
        partition = {"name": "ACSO_PROBE_PARTITION", "value": self.channel.partition}
        return {
            "cluster": found.cluster,
            "taskDefinition": revision,
            "launchType": "FARGATE",
            "networkConfiguration": {
                "awsvpcConfiguration": {
                    "subnets": list(found.subnets),
                    "securityGroups": [found.security_group],
                    "assignPublicIp": "DISABLED",
                }
            },
            "overrides": {"containerOverrides": [{"name": CONTAINER, "environment": [partition]}]},
            "startedBy": started_by(
                datetime.datetime.now(datetime.UTC) + life, what=self.channel.id
            ),
        }


def _is_prober(task: ecs.Task) -> bool:
    family = task.revision.rpartition("/")[2].partition(":")[0]
    return family.endswith(f"-{NAME}")
