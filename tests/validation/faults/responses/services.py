"""Responses about the cluster, its services and tasks, and what they call."""

from typing import Any

from tests.validation.faults.fault import in_responses
from tests.validation.faults.scene import Answer, Refusal, Scene, page

STALE = f"sha256:{'f' * 64}"


def _cluster(scene: Scene, status: str) -> dict[str, Any]:
    cluster = {
        "clusterName": scene.cluster,
        "clusterArn": scene.arn("ecs", f"cluster/{scene.cluster}"),
        "status": status,
        "runningTasksCount": 10,
        "activeServicesCount": len(scene.agents),
    }
    return {"clusters": [cluster], "failures": []}


def _clusters(scene: Scene, bad: Any) -> tuple[Answer, ...]:
    return (
        Answer(
            service="ecs",
            operation="describe_clusters",
            good=(_cluster(scene, "ACTIVE"),),
            bad=bad,
        ),
    )


@in_responses("smoke.cluster", wrong="The cluster was deleted and is still described (INACTIVE).")
def cluster_inactive(scene: Scene) -> tuple[Answer, ...]:
    return _clusters(scene, (_cluster(scene, "INACTIVE"),))


@in_responses("smoke.cluster", wrong="The cluster does not exist: the answer has only a failure.")
def cluster_missing(scene: Scene) -> tuple[Answer, ...]:
    failure = {"arn": scene.arn("ecs", f"cluster/{scene.cluster}"), "reason": "MISSING"}
    return _clusters(scene, page(clusters=[], failures=[failure]))


@in_responses("smoke.cluster", wrong="The cluster's capacity could not be created (FAILED).")
def cluster_failed(scene: Scene) -> tuple[Answer, ...]:
    return _clusters(scene, (_cluster(scene, "FAILED"),))


def _revision(scene: Scene, agent: str, number: int) -> str:
    return scene.arn("ecs", f"task-definition/{scene.service(agent)}:{number}")


def _deployment(scene: Scene, agent: str, **more: Any) -> dict[str, Any]:
    return {
        "id": f"ecs-svc/{scene.agents.index(agent)}",
        "status": "PRIMARY",
        "taskDefinition": _revision(scene, agent, 7),
        "desiredCount": 2,
        "runningCount": 2,
        "pendingCount": 0,
        "rolloutState": "COMPLETED",
        "createdAt": scene.before(hours=1),
        **more,
    }


def service(scene: Scene, agent: str, **more: Any) -> dict[str, Any]:
    """Return a service as DescribeServices returns it: two tasks, one deployment."""
    network = {
        "subnets": ["subnet-0aaa", "subnet-0bbb"],
        "securityGroups": ["sg-0tasks"],
        "assignPublicIp": "DISABLED",
    }
    return {
        "serviceName": scene.service(agent),
        "serviceArn": scene.arn("ecs", f"service/{scene.cluster}/{scene.service(agent)}"),
        "clusterArn": scene.arn("ecs", f"cluster/{scene.cluster}"),
        "status": "ACTIVE",
        "taskDefinition": _revision(scene, agent, 7),
        "desiredCount": 2,
        "runningCount": 2,
        "pendingCount": 0,
        "launchType": "FARGATE",
        "deploymentConfiguration": {
            "minimumHealthyPercent": 100,
            "maximumPercent": 200,
            "deploymentCircuitBreaker": {"enable": True, "rollback": True},
        },
        "deployments": [_deployment(scene, agent)],
        "networkConfiguration": {"awsvpcConfiguration": network},
        **more,
    }


def _services(scene: Scene, agent: str, **more: Any) -> tuple[Answer, ...]:
    """Return the description of all services, of which one differs."""
    changed = [service(scene, name, **(more if name == agent else {})) for name in scene.agents]
    good = [service(scene, name) for name in scene.agents]
    return (
        Answer(
            service="ecs",
            operation="describe_services",
            good=page(services=good, failures=[]),
            bad=page(services=changed, failures=[]),
        ),
    )


@in_responses(
    "smoke.services",
    wrong="Four services are described and run; the fifth is among the failures (MISSING).",
)
def service_among_the_failures(scene: Scene) -> tuple[Answer, ...]:
    good = [service(scene, name) for name in scene.agents]
    arn = scene.arn("ecs", f"service/{scene.cluster}/{scene.service(scene.agents[-1])}")
    missing = {"arn": arn, "reason": "MISSING"}
    return (
        Answer(
            service="ecs",
            operation="describe_services",
            good=page(services=good, failures=[]),
            bad=page(services=good[:-1], failures=[missing]),
        ),
    )


@in_responses(
    "smoke.services",
    wrong="A deleted service is still described, as INACTIVE with 0 of 0 tasks.",
)
def service_inactive(scene: Scene) -> tuple[Answer, ...]:
    gone = {"status": "INACTIVE", "desiredCount": 0, "runningCount": 0, "deployments": []}
    return _services(scene, scene.agents[2], **gone)


@in_responses(
    "smoke.services",
    wrong="A service has its two tasks, of two deployments: the new one does not come up.",
)
def two_deployments(scene: Scene) -> tuple[Answer, ...]:
    agent = scene.agents[1]
    new = _deployment(scene, agent, runningCount=0, pendingCount=2, rolloutState="IN_PROGRESS")
    old = _deployment(scene, agent, status="ACTIVE", id="ecs-svc/old")
    return _services(scene, agent, deployments=[new, old])


@in_responses("availability.desired", wrong="One agent has one task in production: desired is 1.")
def single_task(scene: Scene) -> tuple[Answer, ...]:
    agent = scene.agents[3]
    one = _deployment(scene, agent, desiredCount=1, runningCount=1)
    return _services(scene, agent, desiredCount=1, runningCount=1, deployments=[one])


@in_responses(
    "availability.deployment",
    wrong="Minimum healthy percent is 0 for one agent: a deployment may stop both tasks first.",
)
def no_minimum_of_healthy_tasks(scene: Scene) -> tuple[Answer, ...]:
    breaker = {"enable": True, "rollback": True}
    configuration = {
        "minimumHealthyPercent": 0,
        "maximumPercent": 100,
        "deploymentCircuitBreaker": breaker,
    }
    return _services(scene, scene.agents[0], deploymentConfiguration=configuration)


@in_responses(
    wrong="Harmless: autoscaling has set three tasks where acso.toml says two, within its limits.",
)
def harmless_three_tasks(scene: Scene) -> tuple[Answer, ...]:
    agent = scene.agents[0]
    three = _deployment(scene, agent, desiredCount=3, runningCount=3)
    return _services(scene, agent, desiredCount=3, runningCount=3, deployments=[three])


def _task(scene: Scene, agent: str, zone: str, digest: str = "") -> dict[str, Any]:
    number = f"{scene.agents.index(agent):031x}{zone}"
    container = {
        "name": f"{agent}-agent",
        "lastStatus": "RUNNING",
        "imageDigest": digest or scene.digest(agent),
    }
    return {
        "taskArn": scene.arn("ecs", f"task/{scene.cluster}/{number}"),
        "taskDefinitionArn": _revision(scene, agent, 7),
        "group": f"service:{scene.service(agent)}",
        "lastStatus": "RUNNING",
        "desiredStatus": "RUNNING",
        "availabilityZone": f"{scene.region}{zone}",
        "startedAt": scene.before(hours=1),
        "containers": [container],
    }


def _tasks(good: list[dict[str, Any]], bad: list[dict[str, Any]]) -> tuple[Answer, ...]:
    return (
        Answer(
            service="ecs",
            operation="describe_tasks",
            good=page(tasks=good, failures=[]),
            bad=page(tasks=bad, failures=[]),
        ),
    )


def _spread(scene: Scene) -> list[dict[str, Any]]:
    return [_task(scene, agent, zone) for agent in scene.agents for zone in "ab"]


@in_responses("availability.zones", wrong="Both tasks of one agent run in one zone.")
def single_zone(scene: Scene) -> tuple[Answer, ...]:
    lonely = scene.agents[2]
    found = [
        _task(scene, agent, zone)
        | ({"availabilityZone": f"{scene.region}a"} if agent == lonely else {})
        for agent in scene.agents
        for zone in "ab"
    ]
    return _tasks(_spread(scene), found)


@in_responses(
    "availability.zones",
    wrong="All tasks of all agents run in one zone.",
)
def everything_in_one_zone(scene: Scene) -> tuple[Answer, ...]:
    zone = {"availabilityZone": f"{scene.region}b"}
    return _tasks(_spread(scene), [item | zone for item in _spread(scene)])


@in_responses(
    "smoke.images",
    wrong="One of an agent's two tasks runs the digest of an earlier image of the same tag.",
)
def stale_digest_of_one_task(scene: Scene) -> tuple[Answer, ...]:
    found = _spread(scene)
    stale = [{**found[1]["containers"][0], "imageDigest": STALE}]
    return _tasks(_spread(scene), [found[0], found[1] | {"containers": stale}, *found[2:]])


def _target(scene: Scene, agent: str, **more: Any) -> dict[str, Any]:
    return {
        "ServiceNamespace": "ecs",
        "ResourceId": f"service/{scene.cluster}/{scene.service(agent)}",
        "ScalableDimension": "ecs:service:DesiredCount",
        "MinCapacity": 2,
        "MaxCapacity": 6,
        "RoleARN": scene.arn("iam", "role/aws-service-role/ecs.application-autoscaling"),
        "CreationTime": scene.before(days=30),
        **more,
    }


def _scaling(scene: Scene, bad: list[dict[str, Any]]) -> tuple[Answer, ...]:
    return (
        Answer(
            service="application-autoscaling",
            operation="describe_scalable_targets",
            good=page(ScalableTargets=[_target(scene, agent) for agent in scene.agents]),
            bad=page(ScalableTargets=bad),
        ),
    )


@in_responses(
    "availability.scaling", wrong="An agent that acso.toml scales has no scalable target."
)
def scaling_missing(scene: Scene) -> tuple[Answer, ...]:
    return _scaling(scene, [_target(scene, agent) for agent in scene.agents[:-1]])


@in_responses(
    "availability.scaling",
    wrong="Autoscaling may go down to one task, where acso.toml says two.",
)
def scaling_below_the_minimum(scene: Scene) -> tuple[Answer, ...]:
    lower = _target(scene, scene.agents[0], MinCapacity=1)
    return _scaling(scene, [lower, *(_target(scene, agent) for agent in scene.agents[1:])])


@in_responses(
    "availability.scaling", wrong="Scaling out is suspended, as somebody left it after an incident."
)
def scaling_suspended(scene: Scene) -> tuple[Answer, ...]:
    state = {
        "DynamicScalingInSuspended": False,
        "DynamicScalingOutSuspended": True,
        "ScheduledScalingSuspended": False,
    }
    held = _target(scene, scene.agents[1], SuspendedState=state)
    others = [_target(scene, agent) for agent in scene.agents if agent != scene.agents[1]]
    return _scaling(scene, [held, *others])


def _converse(bad: Any) -> tuple[Answer, ...]:
    message = {"role": "assistant", "content": [{"text": "ok"}]}
    usage = {"inputTokens": 8, "outputTokens": 1, "totalTokens": 9}
    good = page(
        output={"message": message}, stopReason="end_turn", usage=usage, metrics={"latencyMs": 400}
    )
    return (Answer(service="bedrock-runtime", operation="converse", good=good, bad=bad),)


@in_responses(
    "smoke.bedrock", wrong="The task's role may not call the model; the runner's credentials may."
)
def model_denied_to_the_task(scene: Scene) -> tuple[Answer, ...]:
    role = scene.arn("sts", f"assumed-role/{scene.role('supervisor')}/task")
    return _converse(
        Refusal(
            code="AccessDeniedException",
            message=f"User: {role} is not authorized to perform: bedrock:InvokeModel",
        )
    )


@in_responses("smoke.bedrock", wrong="The model does not exist in the region.")
def model_unknown(scene: Scene) -> tuple[Answer, ...]:
    del scene
    message = "The provided model identifier is invalid."
    return _converse(Refusal(code="ValidationException", message=message))


@in_responses("smoke.bedrock", wrong="The model answers with an empty message.")
def model_answers_nothing(scene: Scene) -> tuple[Answer, ...]:
    del scene
    usage = {"inputTokens": 8, "outputTokens": 0, "totalTokens": 8}
    message = {"role": "assistant", "content": [{"text": ""}]}
    return _converse(
        page(
            output={"message": message},
            stopReason="end_turn",
            usage=usage,
            metrics={"latencyMs": 400},
        )
    )
