"""ECS in memory, in virtual time.

It starts tasks, counts failures, completes deployments and rolls them back; the load balancer
finds targets healthy or not. The name of an image says how its tasks behave: `good`, `slow`,
`crash`, `late` (dies after 20 s), `oom`, `pull`, `stuck` (never starts), `sick`, `liar`, `scarce`
(there is no capacity for the first two tasks), optionally with a suffix (`good-2`).
"""

import datetime
import itertools
from dataclasses import dataclass, field
from typing import Any

import anyio

from ci.errors import AwsError
from tests.unit.release.fakes.clock import EPOCH

START = 0.5  # seconds until a task runs
HEALTHY = {
    "good": 1.0,
    "late": 1.0,
    "liar": 1.0,
    "scarce": 1.0,
    "slow": 12.0,
}  # seconds until its target is
CRASH = {"crash": 0.3, "oom": 0.3, "late": 20.0}  # seconds of running until it ends
SCARCE = 2  # tasks of a deployment for which there is no capacity
BREAKER = 3  # failures until ECS rolls a deployment back


@dataclass
class Task:
    id: str
    service: str
    deployment: str
    revision: str
    mode: str
    created: float
    address: str
    stopped: float | None = None
    stop_code: str = ""
    reason: str = ""
    exit_code: int | None = None

    def status(self, at: float) -> str:
        if self.stopped is not None:
            return "STOPPED"
        if self.mode == "stuck":
            return "PROVISIONING"
        return "RUNNING" if at >= self.created + START else "PENDING"

    def healthy(self, at: float) -> bool:
        if self.status(at) != "RUNNING" or self.mode not in HEALTHY:
            return False
        return at >= self.created + START + HEALTHY[self.mode]


@dataclass
class Deployment:
    id: str
    revision: str
    created: float
    state: str = "IN_PROGRESS"
    failed: int = 0


@dataclass
class Service:
    request: dict[str, Any]
    status: str = "ACTIVE"
    deployments: list[Deployment] = field(default_factory=list)  # the first is PRIMARY
    events: list[str] = field(default_factory=list)  # newest first


@dataclass
class Ecs:
    """The cluster's services, task definitions and tasks."""

    services: dict[str, Service] = field(default_factory=dict)
    definitions: dict[str, dict[str, Any]] = field(default_factory=dict)
    tasks: list[Task] = field(default_factory=list)
    broken_revisions: dict[str, str] = field(default_factory=dict)
    forgets_failures: bool = False  # as AWS does once a rollback is complete
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def mode(self, revision: str) -> str:
        """Return what a revision's image does."""
        if revision in self.broken_revisions:
            return self.broken_revisions[revision]
        image = self.definitions[revision]["containerDefinitions"][0]["image"]
        name = str(image).rpartition(":")[2]
        return name.partition("-")[0]

    def tick(self) -> None:
        """Let time do its work on every service."""
        at = anyio.current_time()
        for name, service in self.services.items():
            self._age(name, at)
            if service.status == "ACTIVE" and service.deployments:
                self._drive(name, service, at)

    def _age(self, name: str, at: float) -> None:
        for task in self.tasks:
            if task.service != name or task.stopped is not None:
                continue
            ran = at - task.created - START
            if task.mode == "pull" and ran >= 0:
                self._stop(task, at, "TaskFailedToStart", "CannotPullContainerError: not found")
            if task.mode == "scarce" and ran >= 0 and self._stopped(task.deployment) < SCARCE:
                self._stop(task, at, "TaskFailedToStart", "Capacity is unavailable at this time.")
            if task.mode in CRASH and ran >= CRASH[task.mode]:
                self._stop(task, at, "EssentialContainerExited", "Essential container exited")
                task.exit_code = 137 if task.mode == "oom" else 1

    def _stopped(self, deployment: str) -> int:
        mine = (task for task in self.tasks if task.deployment == deployment)
        return sum(task.stopped is not None for task in mine)

    def _drive(self, name: str, service: Service, at: float) -> None:
        primary = service.deployments[0]
        desired = service.request["desiredCount"]
        mine = [t for t in self.tasks if t.service == name and t.deployment == primary.id]
        primary.failed = sum(
            task.stop_code in ("EssentialContainerExited", "TaskFailedToStart") for task in mine
        )
        if primary.state == "IN_PROGRESS" and primary.failed >= BREAKER:
            self._give_up(service, primary, at)
            return
        alive = [task for task in mine if task.stopped is None]
        if primary.state != "FAILED":
            for _ in range(desired - len(alive)):
                self._start(name, primary, at)
            for task in alive[desired:]:
                self._stop(task, at, "ServiceSchedulerInitiated", "Scaling activity")
        if len(alive) >= desired and all(task.healthy(at) for task in alive[:desired]):
            primary.state = "COMPLETED"
            service.deployments = [primary]
            for task in self.tasks:
                if task.service == name and task.deployment != primary.id and task.stopped is None:
                    self._stop(task, at, "ServiceSchedulerInitiated", "Deployment completed")

    def _give_up(self, service: Service, failed: Deployment, at: float) -> None:
        failed.state = "FAILED"
        service.events.insert(
            0, f"(service x) (deployment {failed.id}) deployment failed: tasks failed to start."
        )
        before = next((d for d in service.deployments[1:] if d.state == "COMPLETED"), None)
        if before:
            new = Deployment(
                id=f"ecs-svc/{next(self._numbers)}", revision=before.revision, created=at
            )
            service.deployments.insert(0, new)
            service.request["taskDefinition"] = before.revision
            if self.forgets_failures:
                service.deployments.remove(failed)

    def _start(self, name: str, deployment: Deployment, at: float) -> None:
        number = next(self._numbers)
        self.tasks.append(
            Task(
                id=f"task{number}",
                service=name,
                deployment=deployment.id,
                revision=deployment.revision,
                mode=self.mode(deployment.revision),
                created=at,
                address=f"10.0.0.{number}",
            )
        )

    def _stop(self, task: Task, at: float, code: str, reason: str) -> None:
        task.stopped, task.stop_code, task.reason = at, code, reason

    def describe_clusters(self, clusters: list[str]) -> dict[str, Any]:
        return {"clusters": [{"clusterName": name, "status": "ACTIVE"} for name in clusters]}

    def register_task_definition(self, **request: Any) -> dict[str, Any]:
        family = request["family"]
        number = 1 + len(self._revisions(family))
        arn = f"arn:aws:ecs:us-east-1:000000000000:task-definition/{family}:{number}"
        made = {"taskDefinitionArn": arn, "revision": number, "status": "ACTIVE", **request}
        self.definitions[arn] = made
        return {"taskDefinition": made}

    def deregister_task_definition(self, taskDefinition: str) -> dict[str, Any]:  # noqa: N803
        self.definitions[taskDefinition]["status"] = "INACTIVE"
        return {"taskDefinition": self.definitions[taskDefinition]}

    def list_task_definitions(self, familyPrefix: str, status: str, sort: str) -> list[str]:  # noqa: N803
        assert sort == "DESC"
        arns = self._revisions(familyPrefix)
        return [arn for arn in arns if self.definitions[arn]["status"] == status][::-1]

    def _revisions(self, family: str) -> list[str]:
        return [arn for arn in self.definitions if arn.split("/")[-1].startswith(f"{family}:")]

    def describe_task_definition(self, taskDefinition: str) -> dict[str, Any]:  # noqa: N803
        return {"taskDefinition": self.definitions[taskDefinition]}

    def create_service(self, **request: Any) -> dict[str, Any]:
        name = request["serviceName"]
        if name in self.services and self.services[name].status != "INACTIVE":
            if self.services[name].request["clientToken"] == request["clientToken"]:
                return {"service": self._description(name)}  # the same request once more
            raise _refused("InvalidParameterException", "Creation of service was not idempotent.")
        self.services[name] = Service(request=request)
        return {"service": self._deploy(name)}

    def update_service(self, service: str, **request: Any) -> dict[str, Any]:
        found = self.services.get(service)
        if found is None or found.status != "ACTIVE":
            raise _refused("ServiceNotActiveException", "Service was not ACTIVE.")
        redeploy = request.pop("forceNewDeployment", False)
        revision = request.get("taskDefinition", found.request["taskDefinition"])
        if self.definitions[revision]["status"] != "ACTIVE" and "taskDefinition" in request:
            raise _refused("ClientException", "TaskDefinition is inactive")
        redeploy = redeploy or revision != found.request["taskDefinition"]
        found.request |= request
        self.tick()
        return {"service": self._deploy(service) if redeploy else self._description(service)}

    def delete_service(self, cluster: str, service: str, force: bool) -> dict[str, Any]:  # noqa: ARG002
        found = self.services[service]
        found.status = "INACTIVE"
        for task in self.tasks:
            if task.service == service and task.stopped is None:
                self._stop(task, anyio.current_time(), "ServiceSchedulerInitiated", "deleted")
        return {"service": self._description(service)}

    def describe_services(self, cluster: str, services: list[str]) -> dict[str, Any]:  # noqa: ARG002
        return {"services": [self._description(name) for name in services if name in self.services]}

    def list_services(self, cluster: str) -> list[str]:  # noqa: ARG002
        return [f"arn/{n}" for n, item in self.services.items() if item.status == "ACTIVE"]

    def list_tasks(self, cluster: str, desiredStatus: str) -> list[str]:  # noqa: ARG002, N803
        stopped = desiredStatus == "STOPPED"
        return [f"arn/{t.id}" for t in self.tasks if (t.stopped is not None) == stopped]

    def describe_tasks(self, cluster: str, tasks: list[str]) -> dict[str, Any]:  # noqa: ARG002
        at = anyio.current_time()
        return {"tasks": [_task(task, at) for task in self.tasks if task.id in tasks]}

    def describe_target_health(self, TargetGroupArn: str) -> dict[str, Any]:  # noqa: N803
        at = anyio.current_time()
        name = TargetGroupArn.rpartition("/")[2]
        found = [
            {
                "Target": {"Id": task.address, "Port": 8000},
                "TargetHealth": {"State": "healthy" if task.healthy(at) else "unhealthy"},
            }
            for task in self.tasks
            if task.service == name and task.status(at) == "RUNNING"
        ]
        return {"TargetHealthDescriptions": found}

    def _deploy(self, name: str) -> dict[str, Any]:
        service = self.services[name]
        revision = service.request["taskDefinition"]
        new = Deployment(
            id=f"ecs-svc/{next(self._numbers)}", revision=revision, created=anyio.current_time()
        )
        service.deployments.insert(0, new)
        self.tick()
        return self._description(name)

    def _description(self, name: str) -> dict[str, Any]:
        service = self.services[name]
        at = anyio.current_time()
        running = [t for t in self.tasks if t.service == name and t.status(at) == "RUNNING"]
        return {
            **service.request,
            "serviceName": name,
            "status": service.status,
            "runningCount": len(running),
            "events": [{"message": text} for text in service.events],
            "deployments": [
                {
                    "id": item.id,
                    "status": "ACTIVE" if number else "PRIMARY",
                    "taskDefinition": item.revision,
                    "desiredCount": service.request["desiredCount"],
                    "runningCount": sum(task.deployment == item.id for task in running),
                    "rolloutState": item.state,
                    "rolloutStateReason": "circuit breaker" if item.state == "FAILED" else "",
                    "createdAt": EPOCH + datetime.timedelta(seconds=item.created),
                }
                for number, item in enumerate(service.deployments)
            ],
        }


def _refused(code: str, message: str) -> AwsError:
    return AwsError(message, code=code)


def _reason(task: Task) -> str:
    killed = task.mode == "oom" and task.stopped is not None
    return "OutOfMemoryError: Container killed due to memory usage" if killed else ""


def _moment(at: float | None) -> datetime.datetime | None:
    return None if at is None else EPOCH + datetime.timedelta(seconds=at)


def _task(task: Task, at: float) -> dict[str, Any]:
    return {
        "taskArn": f"arn/{task.id}",
        "group": f"service:{task.service}",
        "taskDefinitionArn": task.revision,
        "lastStatus": task.status(at),
        "startedBy": task.deployment,
        "createdAt": EPOCH + datetime.timedelta(seconds=task.created),
        "stoppedAt": _moment(task.stopped),
        "stopCode": task.stop_code,
        "stoppedReason": task.reason,
        "containers": [{"name": "main", "exitCode": task.exit_code, "reason": _reason(task)}],
        "attachments": [{"details": [{"name": "privateIPv4Address", "value": task.address}]}],
    }
