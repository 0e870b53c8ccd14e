"""Amazon ECS: clusters, task definitions, services and tasks as values."""

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ci.aws import canonical
from ci.aws.session import Aws
from ci.errors import AwsError

DESCRIBED_SERVICES = 10  # at most, in one DescribeServices
#: Arguments of UpdateService that a release sets, beside the revision and the number of tasks.
SETTINGS = (
    "deploymentConfiguration",
    "enableExecuteCommand",
    "healthCheckGracePeriodSeconds",
    "loadBalancers",
    "networkConfiguration",
)
#: Arguments that a release never changes: recorded for a service that has to be created again.
CREATION = ("capacityProviderStrategy",)
DESCRIBED_TASKS = 100  # at most, in one DescribeTasks


@dataclass(frozen=True, kw_only=True)
class TaskDefinition:
    """One revision: its ARN, its canonical text, and its first container's image and environment.

    If it is not `active`, it was deregistered: services that run it keep it, none can move to it.
    """

    revision: str
    content: str
    image: str
    environment: Mapping[str, str]
    active: bool = True


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One of a service's deployments; `state` is ECS's rollout state, empty if it has none."""

    id: str
    status: str
    revision: str
    desired: int
    running: int
    state: str = ""
    reason: str = ""
    created_at: datetime.datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service as DescribeServices returns it; `settings` is a canonical text."""

    name: str
    status: str
    revision: str
    desired: int
    running: int
    settings: str
    arguments: str = "{}"  # what UpdateService would be called with to keep it, as JSON
    deployments: tuple[Deployment, ...] = ()
    last_event: str = ""
    events: tuple[str, ...] = ()  # newest first

    @property
    def primary(self) -> Deployment | None:
        """The PRIMARY deployment: the one that the service should run."""
        return next((item for item in self.deployments if item.status == "PRIMARY"), None)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task; exit code and reason are those of the container that failed."""

    id: str
    service: str
    revision: str
    status: str
    health: str = "UNKNOWN"
    started_by: str = ""
    created_at: datetime.datetime | None = None
    stopped_at: datetime.datetime | None = None
    address: str = ""
    zone: str = ""  # availability zone
    subnet: str = ""
    stop_code: str = ""
    stopped_reason: str = ""
    exit_code: int | None = None
    container_reason: str = ""
    container: str = ""
    runtime: str = ""  # runtime id of that container
    exec_agent: str | None = None  # status of ECS Exec's agent in it; None if ECS Exec is off


async def cluster_status(aws: Aws, name: str) -> str | None:
    """Return a cluster's status, such as ACTIVE; None if there is no such cluster."""
    answer = await aws.call("ecs", "describe_clusters", clusters=[name])
    return next((str(item["status"]) for item in answer["clusters"]), None)


async def services(aws: Aws, cluster: str, names: Iterable[str]) -> dict[str, Service]:
    """Return the services of these names that exist, deleted ones (INACTIVE) included.

    Raises:
        AwsError: AWS refused; a missing service is no error, a missing cluster is.
    """
    wanted = list(names)
    found: dict[str, Service] = {}
    for start in range(0, len(wanted), DESCRIBED_SERVICES):
        batch = wanted[start : start + DESCRIBED_SERVICES]
        answer = await aws.call("ecs", "describe_services", cluster=cluster, services=batch)
        found.update((item["serviceName"], _service(item)) for item in answer["services"])
    return found


async def service_names(aws: Aws, cluster: str) -> list[str]:
    """Return the names of all services of a cluster that are not deleted."""
    arns = await aws.pages("ecs", "list_services", "serviceArns", cluster=cluster)
    return sorted(arn.rsplit("/", 1)[-1] for arn in arns)


async def task_definition(aws: Aws, revision: str) -> TaskDefinition | None:
    """Return one revision by its ARN; None if it never existed or was deleted."""
    try:
        answer = await aws.call("ecs", "describe_task_definition", taskDefinition=revision)
    except AwsError as error:
        # "Unable to describe task definition" is a ClientException like any other.
        if error.code == "ClientException":
            return None
        raise
    return _task_definition(answer["taskDefinition"])


async def register(aws: Aws, request: Mapping[str, Any]) -> TaskDefinition:
    """Register a new revision of the family that the request names."""
    answer = await aws.call("ecs", "register_task_definition", **request)
    return _task_definition(answer["taskDefinition"])


async def revisions(aws: Aws, family: str) -> list[str]:
    """Return the ARNs of a family's active revisions, newest first."""
    arns = await aws.pages(
        "ecs",
        "list_task_definitions",
        "taskDefinitionArns",
        familyPrefix=family,
        status="ACTIVE",
        sort="DESC",
    )
    # AWS treats `familyPrefix` as a family's whole name; an emulator may treat it as a prefix.
    return [str(arn) for arn in arns if arn.rsplit("/", 1)[-1].rpartition(":")[0] == family]


async def deregister(aws: Aws, revision: str) -> None:
    """Deregister one revision: services that run it keep it, none can move to it."""
    await aws.call("ecs", "deregister_task_definition", taskDefinition=revision)


async def create_service(aws: Aws, request: Mapping[str, Any]) -> Service:
    """Create a service."""
    return _service((await aws.call("ecs", "create_service", **request))["service"])


async def update_service(aws: Aws, request: Mapping[str, Any]) -> Service:
    """Update a service; the PRIMARY deployment of the result is the one that this started."""
    return _service((await aws.call("ecs", "update_service", **request))["service"])


async def delete_service(aws: Aws, cluster: str, name: str) -> None:
    """Delete a service and stop its tasks; no error if it does not exist."""
    try:
        await aws.call("ecs", "delete_service", cluster=cluster, service=name, force=True)
    except AwsError as error:
        if error.code not in ("ServiceNotFoundException", "ServiceNotActiveException"):
            raise


async def task_ids(aws: Aws, cluster: str, *, stopped: bool = False) -> list[str]:
    """Return the ids of a cluster's tasks: running and starting, or stopped in the last hour."""
    status = "STOPPED" if stopped else "RUNNING"
    arns = await aws.pages("ecs", "list_tasks", "taskArns", cluster=cluster, desiredStatus=status)
    return [arn.rsplit("/", 1)[-1] for arn in arns]


async def tasks(aws: Aws, cluster: str, ids: Iterable[str]) -> list[Task]:
    """Return the tasks of these ids that ECS still knows."""
    wanted = list(ids)
    found: list[Task] = []
    for start in range(0, len(wanted), DESCRIBED_TASKS):
        batch = wanted[start : start + DESCRIBED_TASKS]
        answer = await aws.call("ecs", "describe_tasks", cluster=cluster, tasks=batch)
        found.extend(_task(item) for item in answer["tasks"])
    return found


async def all_tasks(aws: Aws, cluster: str) -> list[Task]:
    """Return a cluster's tasks: running and starting ones, and those stopped in the last hour."""
    # Running tasks first: one that stops between the calls is then in both, not in neither.
    ids = [*await task_ids(aws, cluster), *await task_ids(aws, cluster, stopped=True)]
    return await tasks(aws, cluster, dict.fromkeys(ids))


async def run_task(aws: Aws, request: Mapping[str, Any]) -> Task:
    """Start one task that belongs to no service; raises `AwsError` if ECS has no capacity."""
    answer = await aws.call("ecs", "run_task", **request)
    if not answer["tasks"]:
        failure = answer["failures"][0] if answer["failures"] else {}
        message = f"ecs run_task: {failure.get('reason') or 'no task was started'}"
        detail = failure.get("detail")
        raise AwsError(
            f"{message} ({detail})" if detail else message,
            service="ecs",
            operation="run_task",
            code=str(failure.get("reason", "")),
        )
    return _task(answer["tasks"][0])


async def stop_task(aws: Aws, cluster: str, task: str, *, reason: str) -> None:
    """Stop a task; ECS stores the reason with it."""
    await aws.call("ecs", "stop_task", cluster=cluster, task=task, reason=reason)


async def execute(aws: Aws, cluster: str, task: Task, command: str) -> dict[str, str]:
    """Start a command in a task's container; return the session for the Session Manager plugin."""
    answer = await aws.call(
        "ecs",
        "execute_command",
        cluster=cluster,
        task=task.id,
        container=task.container,
        command=command,
        interactive=True,  # ECS allows nothing else
    )
    return dict(answer["session"])


def _task_definition(data: Mapping[str, Any]) -> TaskDefinition:
    first = data["containerDefinitions"][0]
    return TaskDefinition(
        revision=data["taskDefinitionArn"],
        content=canonical.definition(data),
        image=first["image"],
        environment={item["name"]: item["value"] for item in first.get("environment", ())},
        active=data.get("status", "ACTIVE") == "ACTIVE",
    )


def _service(data: Mapping[str, Any]) -> Service:
    events = data.get("events") or ()
    return Service(
        name=data["serviceName"],
        status=data["status"],
        revision=data["taskDefinition"],
        desired=data["desiredCount"],
        running=data["runningCount"],
        settings=canonical.service(data),
        arguments=json.dumps(
            {key: data[key] for key in SETTINGS if key in data}
            | {key: data[key] for key in CREATION if data.get(key)},
            sort_keys=True,
        ),
        deployments=tuple(_deployment(item) for item in data.get("deployments", ())),
        last_event=events[0]["message"] if events else "",
        events=tuple(event["message"] for event in events),
    )


def _deployment(data: Mapping[str, Any]) -> Deployment:
    return Deployment(
        id=data["id"],
        status=data["status"],
        revision=data["taskDefinition"],
        desired=data["desiredCount"],
        running=data["runningCount"],
        state=data.get("rolloutState") or "",
        reason=data.get("rolloutStateReason") or "",
        created_at=data.get("createdAt"),
    )


def _task(data: Mapping[str, Any]) -> Task:
    containers = data.get("containers") or [{}]
    ended = _own_container(data["taskDefinitionArn"], containers)
    group = str(data.get("group", ""))
    return Task(
        id=data["taskArn"].rsplit("/", 1)[-1],
        service=group.removeprefix("service:") if group.startswith("service:") else "",
        revision=data["taskDefinitionArn"],
        status=data["lastStatus"],
        health=data.get("healthStatus") or _health(containers),
        started_by=data.get("startedBy") or "",
        created_at=data.get("createdAt"),
        stopped_at=data.get("stoppedAt"),
        address=_detail(data, "privateIPv4Address"),
        zone=data.get("availabilityZone") or "",
        subnet=_detail(data, "subnetId"),
        stop_code=data.get("stopCode") or "",
        stopped_reason=data.get("stoppedReason") or "",
        exit_code=ended.get("exitCode"),
        container_reason=ended.get("reason") or "",
        container=ended.get("name") or "",
        runtime=ended.get("runtimeId") or "",
        exec_agent=_exec_agent(data, ended),
    )


def _own_container(revision: str, containers: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the agent's own container, not one that AWS or a sidecar added.

    It is named `AGENT-agent`, and the family of the task's revision ends with `-AGENT`. In tasks of
    others it is the container that failed, or else the first.
    """
    family = revision.rsplit("/", 1)[-1].partition(":")[0]
    named = [item for item in containers if str(item.get("name")).endswith("-agent")]
    own = [item for item in named if family.endswith(f"-{item['name'].removesuffix('-agent')}")]
    failed = [item for item in containers if item.get("exitCode")]
    return (own or named or failed or containers)[0]


def _exec_agent(task: Mapping[str, Any], container: Mapping[str, Any]) -> str | None:
    if not task.get("enableExecuteCommand"):
        return None
    agents = container.get("managedAgents") or ()
    states = [item["lastStatus"] for item in agents if item["name"] == "ExecuteCommandAgent"]
    return str(states[0]) if states else "PENDING"


def _health(containers: Iterable[Mapping[str, Any]]) -> str:
    states = {item.get("healthStatus") for item in containers}
    return "UNHEALTHY" if "UNHEALTHY" in states else str(states.pop() or "UNKNOWN")


def _detail(data: Mapping[str, Any], name: str) -> str:
    """Return a detail of a task's network interface."""
    details = (item for eni in data.get("attachments", ()) for item in eni.get("details", ()))
    return next((str(d["value"]) for d in details if d["name"] == name), "")
