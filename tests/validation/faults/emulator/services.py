"""Faults of services, tasks and load balancing that can be planted in the embedded AWS."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from ci.local.wait import until
from ci.release import ReleaseContext
from tests.validation.faults.emulator.running import (
    changed,
    container,
    rerun,
    service_name,
    services,
    settings,
    settled,
    update,
    variable,
    with_variable,
)
from tests.validation.faults.fault import on_emulator

LAST = "financial-intelligence"
#: What DescribeServices returns and CreateService takes.
CREATED = (
    *("serviceName", "taskDefinition", "desiredCount", "launchType", "loadBalancers"),
    *("networkConfiguration", "deploymentConfiguration", "healthCheckGracePeriodSeconds"),
)


def _last(found: dict[str, Any]) -> Any:
    return next(item for name, item in found.items() if name.endswith(LAST))


@on_emulator(
    "smoke.services",
    wrong="A service runs 0 of 0 tasks: running equals desired.",
    read=settings,
    shows=lambda found: (_last(found)["desiredCount"], _last(found)["runningCount"]) == (0, 0),
    needs="services",
)
async def service_zero_of_zero(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in changed(place, desiredCount=0):
        yield


@on_emulator(
    "smoke.services",
    wrong="The last agent's service does not exist; the other four run.",
    read=settings,
    shows=lambda found: not any(name.endswith(LAST) for name in found),
    needs="services",
)
async def service_missing(place: ReleaseContext) -> AsyncIterator[None]:
    name, cluster = service_name(place), place.outputs.cluster
    before = (await services(place))[name]
    await place.aws.call("ecs", "delete_service", cluster=cluster, service=name, force=True)
    yield
    request = {key: before[key] for key in CREATED if key in before}
    await place.aws.call("ecs", "create_service", cluster=cluster, **request)
    await settled(place, name)


@on_emulator(
    "smoke.images",
    wrong="A task runs an image by its tag, which may mean another image tomorrow.",
    read=container,
    shows=lambda found: "@" not in found["image"],
    needs="services",
)
async def image_by_tag(place: ReleaseContext) -> AsyncIterator[None]:
    image = str((await container(place))["image"])
    name, _, digest = image.partition("@")
    described = await place.aws.call(
        "ecr",
        "describe_images",
        repositoryName=name.partition("/")[2],
        imageIds=[{"imageDigest": digest}],
    )
    tag = described["imageDetails"][0]["imageTags"][0]
    async for _ in rerun(place, lambda found: found | {"image": f"{name}:{tag}"}):
        yield


@on_emulator(
    "smoke.logs",
    wrong="The task definition of the last agent has no log configuration.",
    read=container,
    shows=lambda found: not found.get("logConfiguration"),
    needs="services",
)
async def task_without_log_driver(place: ReleaseContext) -> AsyncIterator[None]:
    def silent(found: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in found.items() if key != "logConfiguration"}

    async for _ in rerun(place, silent):
        yield


async def _streams(place: ReleaseContext) -> list[str]:
    found = await place.aws.pages(
        "logs", "describe_log_streams", "logStreams", logGroupName=place.outputs.log_group
    )
    return sorted(item["logStreamName"] for item in found)


async def _tasks(place: ReleaseContext) -> list[str]:
    answer = await place.aws.call(
        "ecs", "list_tasks", cluster=place.outputs.cluster, serviceName=service_name(place)
    )
    return [arn.rpartition("/")[2] for arn in answer["taskArns"]]


async def _silent_tasks(place: ReleaseContext) -> list[str]:
    """Return the tasks of the last agent that have no log stream."""
    streams = await _streams(place)
    return [task for task in await _tasks(place) if not any(task in name for name in streams)]


@on_emulator(
    "smoke.logs",
    wrong="One running task has no log lines; the log group has plenty of other tasks.",
    read=_silent_tasks,
    shows=lambda found: len(found) == 1,
    needs="services",
)
async def task_without_log_stream(place: ReleaseContext) -> AsyncIterator[None]:
    task = (await _tasks(place))[0]
    name = next(item for item in await _streams(place) if task in item)
    logs = partial(place.aws.call, "logs", logGroupName=place.outputs.log_group)
    lines = await logs("get_log_events", logStreamName=name, startFromHead=True)
    await logs("delete_log_stream", logStreamName=name)
    yield
    await logs("create_log_stream", logStreamName=name)
    events = [{key: item[key] for key in ("timestamp", "message")} for item in lines["events"]]
    await logs("put_log_events", logStreamName=name, logEvents=events)


@on_emulator(
    "smoke.health",
    wrong="An agent answers /health with a version that is not the deployed one.",
    read=container,
    shows=variable("ACSO_VERSION", "of-last-week"),
    needs="services",
)
async def stale_version(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in rerun(place, with_variable("ACSO_VERSION", "of-last-week")):
        yield


@on_emulator(
    "smoke.health",
    wrong="An agent says that it belongs to another environment.",
    read=container,
    shows=variable("ACSO_ENVIRONMENT", "elsewhere"),
    needs="services",
)
async def wrong_environment(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in rerun(place, with_variable("ACSO_ENVIRONMENT", "elsewhere")):
        yield


@on_emulator(
    "smoke.ready",
    wrong="An agent is alive and cannot work: its state table does not exist (/ready is 503).",
    read=container,
    shows=variable("ACSO_STATE_TABLE", "acso-missing"),
    needs="services",
)
async def state_table_missing(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in rerun(place, with_variable("ACSO_STATE_TABLE", "acso-missing")):
        yield


@on_emulator(
    "integration.calls",
    "integration.goal",
    wrong="The supervisor has a wrong address of the load balancer: it reaches nobody.",
    read=partial(container, number=0),
    shows=variable("ACSO_URL", "http://127.0.0.1:9"),
    needs="services",
)
async def supervisor_with_wrong_address(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in rerun(place, with_variable("ACSO_URL", "http://127.0.0.1:9"), number=0):
        yield


async def _rules(place: ReleaseContext) -> dict[str, str]:
    """Return the target group of each path that the load balancer forwards."""
    elb = partial(place.aws.call, "elbv2")
    name = f"{place.env.prefix}-alb"
    balancer = (await elb("describe_load_balancers", Names=[name]))["LoadBalancers"][0]
    arn = balancer["LoadBalancerArn"]
    listener = (await elb("describe_listeners", LoadBalancerArn=arn))["Listeners"][0]
    rules = (await elb("describe_rules", ListenerArn=listener["ListenerArn"]))["Rules"]
    return {
        f"{_path(rule)} {rule['RuleArn']}": rule["Actions"][0]["TargetGroupArn"]
        for rule in rules
        if rule["Actions"][0]["Type"] == "forward"
    }


def _path(rule: Any) -> str:
    condition = rule["Conditions"][0]
    return str((condition.get("Values") or condition["PathPatternConfig"]["Values"])[0])


@on_emulator(
    "smoke.health",
    "integration.calls",
    wrong="The load balancer sends the last agent's path to another agent's tasks.",
    read=_rules,
    shows=lambda found: len(set(found.values())) < len(found),
    needs="services",
)
async def path_to_another_agent(place: ReleaseContext) -> AsyncIterator[None]:
    groups = place.outputs.target_groups
    rule = next(key for key in await _rules(place) if key.startswith(f"/{LAST}"))
    change = partial(place.aws.call, "elbv2", "modify_rule", RuleArn=rule.rpartition(" ")[2])
    await change(Actions=[{"Type": "forward", "TargetGroupArn": groups["supervisor"]}])
    yield
    await change(Actions=[{"Type": "forward", "TargetGroupArn": groups[LAST]}])


async def _targets(place: ReleaseContext) -> list[str]:
    answer = await place.aws.call(
        "elbv2", "describe_target_health", TargetGroupArn=place.outputs.target_groups[LAST]
    )
    return sorted(item["TargetHealth"]["State"] for item in answer["TargetHealthDescriptions"])


@on_emulator(
    "network.targets",
    wrong="A second target is registered in an agent's group, and nothing answers at its address.",
    read=_targets,
    shows=lambda found: "unhealthy" in found and "healthy" in found,
    needs="services",
)
async def target_unhealthy(place: ReleaseContext) -> AsyncIterator[None]:
    # An address of the test network that RFC 5737 reserves: nobody has it.
    group, target = place.outputs.target_groups[LAST], [{"Id": "192.0.2.9", "Port": 8000}]
    elb = partial(place.aws.call, "elbv2", TargetGroupArn=group, Targets=target)

    async def seen() -> bool:
        return "unhealthy" in await _targets(place)

    await elb("register_targets")
    assert await until(seen, seconds=60), "the target is not unhealthy within 60 s"
    yield
    await elb("deregister_targets")


@on_emulator(
    "availability.deployment",
    wrong="A deployment may stop every task first: minimum healthy percent is 0.",
    read=settings,
    shows=lambda found: _last(found)["deploymentConfiguration"]["minimumHealthyPercent"] == 0,
    needs="services",
)
async def deployment_stops_all(place: ReleaseContext) -> AsyncIterator[None]:
    before = _last(await settings(place))["deploymentConfiguration"]
    configuration = before | {"minimumHealthyPercent": 0}
    async for _ in changed(place, deploymentConfiguration=configuration):
        yield


@on_emulator(
    "availability.deployment",
    wrong="The circuit breaker of a service is off.",
    read=settings,
    shows=lambda found: (
        not _last(found)["deploymentConfiguration"]["deploymentCircuitBreaker"]["enable"]
    ),
    needs="services",
)
async def breaker_off(place: ReleaseContext) -> AsyncIterator[None]:
    before = _last(await settings(place))["deploymentConfiguration"]
    configuration = before | {"deploymentCircuitBreaker": {"enable": False, "rollback": False}}
    async for _ in changed(place, deploymentConfiguration=configuration):
        yield


def _network(found: dict[str, Any]) -> dict[str, Any]:
    network: dict[str, Any] = found["networkConfiguration"]["awsvpcConfiguration"]
    return network


@on_emulator(
    "network.private-subnets",
    wrong="The tasks of a service get public addresses.",
    read=settings,
    shows=lambda found: _network(_last(found))["assignPublicIp"] == "ENABLED",
    needs="services",
)
async def public_address(place: ReleaseContext) -> AsyncIterator[None]:
    network = _network(_last(await settings(place))) | {"assignPublicIp": "ENABLED"}
    async for _ in changed(place, networkConfiguration={"awsvpcConfiguration": network}):
        yield


@on_emulator(
    wrong="Harmless: a service that acso.toml does not have exists in the cluster (a warning).",
    read=settings,
    shows=lambda found: any(name.endswith("-scratch") for name in found),
    needs="services",
)
async def harmless_stray_service(place: ReleaseContext) -> AsyncIterator[None]:
    name, cluster = f"{place.env.prefix}-scratch", place.outputs.cluster
    before = _last(await services(place))
    request = {key: before[key] for key in CREATED if key in before and key != "loadBalancers"}
    await place.aws.call(
        "ecs", "create_service", cluster=cluster, **(request | {"serviceName": name})
    )
    await settled(place, name)
    yield
    await place.aws.call("ecs", "delete_service", cluster=cluster, service=name, force=True)


@on_emulator(
    wrong="Harmless: a service has more tasks than acso.toml asks for, as autoscaling sets them.",
    read=settings,
    shows=lambda found: (_last(found)["desiredCount"], _last(found)["runningCount"]) == (2, 2),
    needs="services",
)
async def harmless_scaled_out(place: ReleaseContext) -> AsyncIterator[None]:
    name = service_name(place)
    before = (await services(place))[name]["desiredCount"]
    await update(place, name, desiredCount=before + 1)
    yield
    await update(place, name, desiredCount=before)


@on_emulator(
    wrong="Harmless: the log group has a stream of an old task, without lines of today.",
    read=_streams,
    shows=lambda found: any("old-task" in name for name in found),
    needs="services",
)
async def harmless_old_log_stream(place: ReleaseContext) -> AsyncIterator[None]:
    logs = partial(place.aws.call, "logs", logGroupName=place.outputs.log_group)
    stream = f"{LAST}/{LAST}-agent/old-task"
    await logs("create_log_stream", logStreamName=stream)
    yield
    await logs("delete_log_stream", logStreamName=stream)
