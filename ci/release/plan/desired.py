"""The desired services: pure functions of configuration, image and infrastructure."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ci.aws import canonical, secrets
from ci.config import PLATFORMS, Agent, Scaling
from ci.release.model import Image, ReleaseContext

USER = "10001:10001"  # the images' own user, repeated here so that no image can change it
STOP_SECONDS = 30  # between SIGTERM and SIGKILL, to finish requests
CHECK_RETRIES = 3
CHECK_SECONDS = 5
MAX_START_SECONDS = 300  # the longest start period that ECS allows in a health check
#: What each strategy (`ci.release.rollout.strategy`) sets in ECS's `deploymentConfiguration`.
DEPLOYMENT: Mapping[str, Mapping[str, Any]] = {
    "rolling": {
        # Old tasks stay until the new ones serve; the circuit breaker covers a killed pipeline.
        "minimumHealthyPercent": 100,
        "maximumPercent": 200,
        "deploymentCircuitBreaker": {"enable": True, "rollback": True},
    }
}


@dataclass(frozen=True, kw_only=True)
class DesiredService:
    """One desired service: its task definition's request, and canonical texts to compare.

    `count` is the desired number of tasks; with `scaling`, of a new service. `arguments` are the
    settings of UpdateService as JSON.
    """

    agent: Agent
    service: str
    image: Image
    count: int
    scaling: Scaling | None
    request: Mapping[str, Any]
    content: str
    settings: str
    arguments: str

    def beside(self, count: int) -> "DesiredService":
        """Return the same for a service that has so many tasks: autoscaling may have chosen them.

        The count is then wanted as it is, or the nearest that autoscaling allows.
        """
        if self.scaling is None:
            return self
        wanted = min(max(count, self.scaling.min), self.scaling.max)
        settings = json.loads(self.settings) | {"desiredCount": wanted}
        return replace(self, settings=json.dumps(settings, indent=2, sort_keys=True))

    @property
    def wanted(self) -> int:
        """The number of tasks that the service is to have now."""
        return int(json.loads(self.settings)["desiredCount"])


def desired_service(context: ReleaseContext, image: Image) -> DesiredService:
    """Return the desired service of an image's agent."""
    agent = context.config.agent(image.agent)
    request = task_definition(context, agent, image)
    return DesiredService(
        agent=agent,
        service=context.env.service(agent),
        image=image,
        count=context.env.task(agent).desired_count,
        scaling=context.env.task(agent).scaling,
        request=request,
        content=canonical.definition(request),
        settings=canonical.service(service(context, agent, revision="")),
        arguments=json.dumps(settings(context, agent), sort_keys=True),
    )


def task_definition(context: ReleaseContext, agent: Agent, image: Image) -> dict[str, Any]:
    """Return the RegisterTaskDefinition request of an agent.

    Nothing in it changes from commit to commit: the same image in the same configuration is the
    same definition, so an unchanged agent is never rolled.
    """
    size = context.env.task(agent)
    return {
        "family": context.env.service(agent),
        "requiresCompatibilities": ["FARGATE"],
        "networkMode": "awsvpc",
        "cpu": str(size.cpu),
        "memory": str(size.memory),
        "runtimePlatform": {
            "cpuArchitecture": PLATFORMS[context.config.project.platform],
            "operatingSystemFamily": "LINUX",
        },
        "executionRoleArn": context.outputs.execution_role,
        "taskRoleArn": context.outputs.task_roles[agent.name],
        "containerDefinitions": [_container(context, agent, image)],
        "tags": _tags(context, agent),
    }


def service(context: ReleaseContext, agent: Agent, *, revision: str) -> dict[str, Any]:
    """Return the CreateService request of an agent, with its load balancer attached.

    Its client token makes ECS answer a repeated request like the first one.
    """
    return {
        "cluster": context.outputs.cluster,
        "serviceName": context.env.service(agent),
        "taskDefinition": revision,
        "desiredCount": context.env.task(agent).desired_count,
        "clientToken": uuid.uuid4().hex,
        "launchType": "FARGATE",
        **settings(context, agent),
        "enableECSManagedTags": True,
        "propagateTags": "SERVICE",
        "tags": _tags(context, agent),
    }


def recorded_settings(context: ReleaseContext, agent: Agent, recorded: str) -> dict[str, Any]:
    """Return the settings that a record lists, in the environment's network and target group.

    Those are read from the infrastructure, because they may have been created again since. A
    record of an earlier version lists no settings: then those of acso.toml are returned.
    """
    now = settings(context, agent)
    if not recorded:
        return now
    known: dict[str, Any] = json.loads(recorded)
    known["networkConfiguration"] = now["networkConfiguration"]
    group = now["loadBalancers"][0]["targetGroupArn"]
    known["loadBalancers"] = [
        item | {"targetGroupArn": group} if item.get("containerName") == agent.container else item
        for item in known.get("loadBalancers", ())
    ]
    return known


def settings(context: ReleaseContext, agent: Agent) -> dict[str, Any]:
    """Return the arguments that CreateService and UpdateService share (`ci.aws.ecs.SETTINGS`)."""
    return {
        "deploymentConfiguration": dict(DEPLOYMENT[context.env.strategy]),
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": list(context.outputs.subnets),
                "securityGroups": [context.outputs.security_group],
                "assignPublicIp": "DISABLED",
            }
        },
        "loadBalancers": [
            {
                "targetGroupArn": context.outputs.target_groups[agent.name],
                "containerName": agent.container,
                "containerPort": agent.port,
            }
        ],
        "healthCheckGracePeriodSeconds": context.env.health_grace,
        "enableExecuteCommand": context.env.ecs_exec,
    }


def _container(context: ReleaseContext, agent: Agent, image: Image) -> dict[str, Any]:
    return {
        "name": agent.container,
        "image": image.reference,
        "essential": True,
        "portMappings": [{"containerPort": agent.port, "protocol": "tcp"}],
        "environment": [
            {"name": name, "value": value}
            for name, value in sorted(_environment(context, agent, image).items())
        ],
        # ECS reads the values when a task starts; only their names are here.
        "secrets": [
            {"name": name, "valueFrom": secrets.reference(text, context.aws, context.env)}
            for name, text in sorted(context.env.task(agent).secrets.items())
        ],
        "healthCheck": {
            "command": ["CMD", "python", "-m", "agents.healthcheck"],
            "interval": context.env.health_interval,
            "timeout": CHECK_SECONDS,
            "retries": CHECK_RETRIES,
            "startPeriod": min(context.env.health_grace, MAX_START_SECONDS),
        },
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": context.outputs.log_group,
                "awslogs-region": context.env.region,
                "awslogs-stream-prefix": agent.name,
            },
        },
        "linuxParameters": {"initProcessEnabled": True},
        # ECS Exec's agent needs a root filesystem that it can write to.
        # Source: Amazon ECS Developer Guide, "ECS Exec", considerations.
        "readonlyRootFilesystem": not context.env.ecs_exec,
        "stopTimeout": STOP_SECONDS,
        "user": USER,
    }


def _environment(context: ReleaseContext, agent: Agent, image: Image) -> dict[str, str]:
    model = {"ACSO_MODEL": context.env.model} if context.env.model else {}
    return {
        **context.env.task(agent).environment,
        **model,
        "ACSO_AGENT": agent.name,
        "ACSO_AGENTS_SECRET": context.outputs.agents_secret,
        "ACSO_DIGEST": image.digest,
        "ACSO_ENVIRONMENT": context.env.name,
        "ACSO_PEOPLE_SECRET": context.outputs.people_secret,
        "ACSO_STATE_TABLE": context.outputs.state_table,
        "ACSO_URL": context.outputs.url,
        "ACSO_VERSION": image.version,
        "AWS_REGION": context.env.region,
        "PORT": str(agent.port),
    }


def _tags(context: ReleaseContext, agent: Agent) -> list[dict[str, str]]:
    own = {"project": "acso", "environment": context.env.name, "agent": agent.name}
    tags = {**context.env.tags, **own}
    return [{"key": key, "value": value} for key, value in tags.items()]
