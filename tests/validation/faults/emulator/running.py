"""Parts for faults of services, tasks and release records that run in the embedded AWS."""

import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from ci.aws import ecs
from ci.local.wait import until
from ci.release import ReleaseContext

SECONDS = 90  # a new deployment may take
#: What DescribeTaskDefinition returns and RegisterTaskDefinition takes.
DEFINITION = (
    *("family", "taskRoleArn", "executionRoleArn", "networkMode", "containerDefinitions"),
    *("volumes", "requiresCompatibilities", "cpu", "memory", "runtimePlatform"),
)
Document = dict[str, Any]


def service_name(place: ReleaseContext, number: int = -1) -> str:
    """Return the name of the service of the agent with this number; -1 is the last one."""
    return place.env.service(place.config.agents[number])


async def services(place: ReleaseContext) -> dict[str, Document]:
    """Return the services of the cluster, by name; deleted ones are not among them."""
    names = await ecs.service_names(place.aws, place.outputs.cluster)
    answer = await place.aws.call(
        "ecs", "describe_services", cluster=place.outputs.cluster, services=names
    )
    return {item["serviceName"]: item for item in answer["services"]}


async def settings(place: ReleaseContext) -> dict[str, Document]:
    """Return what UpdateService sets of the services, and their revisions and numbers of tasks."""
    kept = (*ecs.SETTINGS, "desiredCount", "runningCount", "taskDefinition", "status")
    found = await services(place)
    return {
        name: {key: value for key, value in item.items() if key in kept}
        for name, item in found.items()
    }


async def update(place: ReleaseContext, name: str, **change: Any) -> None:
    """Update a service and wait until it has its tasks, of one deployment."""
    call = partial(place.aws.call, "ecs", "update_service", cluster=place.outputs.cluster)
    await call(service=name, **change)
    await settled(place, name)


async def settled(place: ReleaseContext, name: str) -> None:
    """Wait until a service has its desired number of tasks, of one deployment."""

    async def done() -> bool:
        found = (await services(place))[name]
        (primary, *others) = found["deployments"]
        complete = primary.get("rolloutState") == "COMPLETED" and not others
        return bool(complete and found["runningCount"] == found["desiredCount"])

    assert await until(done, seconds=SECONDS), f"{name} has not settled within {SECONDS} s"


async def changed(place: ReleaseContext, number: int = -1, **change: Any) -> AsyncIterator[None]:
    """Change settings of a service; the earlier ones return."""
    name = service_name(place, number)
    before = (await services(place))[name]
    await update(place, name, **change)
    yield
    await update(place, name, **{key: before[key] for key in change})


async def definition(place: ReleaseContext, number: int = -1) -> Document:
    """Return the task definition that a service runs."""
    revision = (await services(place))[service_name(place, number)]["taskDefinition"]
    answer = await place.aws.call("ecs", "describe_task_definition", taskDefinition=revision)
    found: Document = answer["taskDefinition"]
    return found


async def container(place: ReleaseContext, number: int = -1) -> Document:
    """Return the container of the task definition that a service runs."""
    found: Document = (await definition(place, number))["containerDefinitions"][0]
    return found


async def rerun(
    place: ReleaseContext, change: Callable[[Document], Document], number: int = -1
) -> AsyncIterator[None]:
    """Roll a service out with a changed container; it returns to its own revision."""
    name, before = service_name(place, number), await definition(place, number)
    request = {key: before[key] for key in DEFINITION if before.get(key)}
    request["containerDefinitions"] = [change(before["containerDefinitions"][0])]
    made = await place.aws.call("ecs", "register_task_definition", **request)
    revision = made["taskDefinition"]["taskDefinitionArn"]
    await update(place, name, taskDefinition=revision)
    yield
    await update(place, name, taskDefinition=before["taskDefinitionArn"])
    await ecs.deregister(place.aws, revision)


def with_variable(name: str, value: str) -> Callable[[Document], Document]:
    """Return a change of a container: an environment variable with another value."""

    def change(found: Document) -> Document:
        others = [item for item in found["environment"] if item["name"] != name]
        return found | {"environment": [*others, {"name": name, "value": value}]}

    return change


def variable(name: str, value: str) -> Callable[[Document], bool]:
    """Return whether a container has an environment variable with this value."""
    return lambda found: {"name": name, "value": value} in found["environment"]


async def records(place: ReleaseContext) -> list[Document]:
    """Return the items of the release records, the newest first."""
    items: list[Document] = await place.aws.pages(
        "dynamodb",
        "query",
        "Items",
        TableName=place.outputs.releases_table,
        KeyConditionExpression="pk = :kind",
        ExpressionAttributeValues={":kind": {"S": "release"}},
        ScanIndexForward=False,
    )
    return items


async def bodies(place: ReleaseContext) -> list[Document]:
    """Return the release records, the newest first."""
    return [json.loads(item["body"]["S"]) for item in await records(place)]


async def recorded(
    place: ReleaseContext, number: int, change: Callable[[Document], Document]
) -> AsyncIterator[None]:
    """Change a release record; 0 is the newest."""
    before = (await records(place))[number]
    body = change(json.loads(before["body"]["S"]))
    state = {"S": body["state"]}
    after = before | {"body": {"S": json.dumps(body, sort_keys=True)}, "state": state}
    put = partial(place.aws.call, "dynamodb", "put_item", TableName=place.outputs.releases_table)
    await put(Item=after)
    yield
    await put(Item=before)


def with_after(agent: str, **change: str) -> Callable[[Document], Document]:
    """Return a change of a record: what one agent's service runs after the release."""

    def apply(body: Document) -> Document:
        entries = [
            entry | {"after": entry["after"] | change} if entry["agent"] == agent else entry
            for entry in body["entries"]
        ]
        return body | {"entries": entries}

    return apply
