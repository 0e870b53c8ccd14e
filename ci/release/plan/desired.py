"""What each service should be: pure functions from configuration, image and infrastructure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ci.aws import canonical
from ci.config import Agent
from ci.release.model import Image, Place

USER = "10001:10001"  # the images' own, told again so that no image can change it
STOP_SECONDS = 30  # between SIGTERM and SIGKILL; an agent finishes what it is at
CHECK_RETRIES = 3
CHECK_SECONDS = 5
MOST_START_SECONDS = 300  # what ECS takes at most as a health check's start period
#: What each strategy (`ci.release.rollout.strategy`) sets in ECS's `deploymentConfiguration`.
DEPLOYMENT: Mapping[str, Mapping[str, Any]] = {
    "rolling": {
        # Old tasks stay until the new ones serve; the breaker is for when nobody watches.
        "minimumHealthyPercent": 100,
        "maximumPercent": 200,
        "deploymentCircuitBreaker": {"enable": True, "rollback": True},
    }
}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One service as a release wants it: the requests, and their canonical texts to compare."""

    agent: Agent
    service: str
    image: Image
    desired: int
    request: Mapping[str, Any]
    content: str
    settings: str


def wanted(place: Place, image: Image) -> Wanted:
    """Return what the service of an image's agent should be in this place."""
    agent = place.config.agent(image.agent)
    request = task_definition(place, agent, image)
    return Wanted(
        agent=agent,
        service=place.env.service(agent),
        image=image,
        desired=place.env.task(agent).desired_count,
        request=request,
        content=canonical.definition(request),
        settings=canonical.service(service(place, agent, revision="")),
    )


def task_definition(place: Place, agent: Agent, image: Image) -> dict[str, Any]:
    """Return the RegisterTaskDefinition request of an agent.

    Nothing in it changes from commit to commit: the same image in the same configuration is the
    same definition, so an unchanged agent is never rolled.
    """
    size = place.env.task(agent)
    return {
        "family": place.env.service(agent),
        "requiresCompatibilities": ["FARGATE"],
        "networkMode": "awsvpc",
        "cpu": str(size.cpu),
        "memory": str(size.memory),
        "executionRoleArn": place.outputs.execution_role,
        "taskRoleArn": place.outputs.task_roles[agent.name],
        "containerDefinitions": [_container(place, agent, image)],
        "tags": _tags(place, agent),
    }


def service(place: Place, agent: Agent, *, revision: str) -> dict[str, Any]:
    """Return the CreateService request of an agent, with its load balancer attached."""
    return {
        "cluster": place.outputs.cluster,
        "serviceName": place.env.service(agent),
        "taskDefinition": revision,
        "desiredCount": place.env.task(agent).desired_count,
        "launchType": "FARGATE",
        **_settings(place, agent),
        "enableECSManagedTags": True,
        "propagateTags": "SERVICE",
        "tags": _tags(place, agent),
    }


def update(place: Place, agent: Agent, *, revision: str, desired: int) -> dict[str, Any]:
    """Return the UpdateService request that brings an agent's service to a revision."""
    return {
        "cluster": place.outputs.cluster,
        "service": place.env.service(agent),
        "taskDefinition": revision,
        "desiredCount": desired,
        **_settings(place, agent),
    }


def _settings(place: Place, agent: Agent) -> dict[str, Any]:
    """Return what CreateService and UpdateService both take."""
    return {
        "deploymentConfiguration": dict(DEPLOYMENT[place.env.strategy]),
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": list(place.outputs.subnets),
                "securityGroups": [place.outputs.security_group],
                "assignPublicIp": "DISABLED",
            }
        },
        "loadBalancers": [
            {
                "targetGroupArn": place.outputs.target_groups[agent.name],
                "containerName": agent.container,
                "containerPort": agent.port,
            }
        ],
        "healthCheckGracePeriodSeconds": place.env.health_grace,
        "enableExecuteCommand": place.env.ecs_exec,
    }


def _container(place: Place, agent: Agent, image: Image) -> dict[str, Any]:
    return {
        "name": agent.container,
        "image": image.reference,
        "essential": True,
        "portMappings": [{"containerPort": agent.port, "protocol": "tcp"}],
        "environment": [
            {"name": name, "value": value}
            for name, value in sorted(_environment(place, agent, image).items())
        ],
        "healthCheck": {
            "command": ["CMD", "python", "-m", "agents.healthcheck"],
            "interval": place.env.health_interval,
            "timeout": CHECK_SECONDS,
            "retries": CHECK_RETRIES,
            "startPeriod": min(place.env.health_grace, MOST_START_SECONDS),
        },
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": place.outputs.log_group,
                "awslogs-region": place.env.region,
                "awslogs-stream-prefix": agent.name,
            },
        },
        "linuxParameters": {"initProcessEnabled": True},
        # ECS Exec's agent needs a root filesystem that it can write to.
        # Source: Amazon ECS Developer Guide, "ECS Exec", considerations.
        "readonlyRootFilesystem": not place.env.ecs_exec,
        "stopTimeout": STOP_SECONDS,
        "user": USER,
    }


def _environment(place: Place, agent: Agent, image: Image) -> dict[str, str]:
    return {
        "ACSO_AGENT": agent.name,
        "ACSO_DIGEST": image.digest,
        "ACSO_ENVIRONMENT": place.env.name,
        "ACSO_STATE_TABLE": place.outputs.state_table,
        "ACSO_VERSION": image.version,
        "AWS_REGION": place.env.region,
        "PORT": str(agent.port),
    }


def _tags(place: Place, agent: Agent) -> list[dict[str, str]]:
    tags = {"project": "acso", "environment": place.env.name, "agent": agent.name}
    return [{"key": key, "value": value} for key, value in tags.items()]
