"""Services of ECS with rolling deployments: what their scheduler does.

Sources: Amazon ECS Developer Guide, "Rolling update deployments", "Deployment circuit breaker", and
API Reference, "Deployment" and "Service".
"""

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.unit.release.badday.tasks import CAPACITY, DEREGISTRATION, Fate, Quality, Task
from tests.unit.release.badday.timeline import Timeline

PAUSE = 1.0  # seconds between two looks of a scheduler
STOPPING = 3.0  # seconds from SIGTERM to STOPPED
FREE_FAILURES = 2  # of the kinds that ECS retries, in one deployment: a third one may count


@dataclass
class Deployment:
    """One of a service's deployments."""

    id: str
    definition: Mapping[str, Any]
    created: float
    status: str = "PRIMARY"
    state: str = "IN_PROGRESS"
    reason: str = ""
    failed: int = 0
    retried: int = 0
    unplaced_until: float = 0.0

    @property
    def revision(self) -> str:
        """ARN of its task definition."""
        return str(self.definition["taskDefinitionArn"])


@dataclass
class Fates:
    """What happens to the tasks that start, in order; afterwards the default."""

    given: list[Fate] = field(default_factory=list)
    shortage: float = 0.0  # seconds in which each new deployment finds no capacity

    def take(self, deployment: Deployment) -> Fate:
        """Return the fate of a deployment's next task."""
        fate = self.given.pop(0) if self.given else Fate()
        if not fate.failure:
            return fate
        deployment.retried += 1
        return fate if deployment.retried <= FREE_FAILURES else Fate()


@dataclass
class Service:
    """A service, its deployments (newest first) and its tasks."""

    name: str
    time: Timeline
    fates: Fates
    quality: Callable[[str], Quality]
    settings: dict[str, Any]
    desired: int
    status: str = "ACTIVE"
    deployments: list[Deployment] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    completed: Deployment | None = None
    _numbers: int = 0

    @property
    def primary(self) -> Deployment:
        """The deployment that the service moves to."""
        return self.deployments[0]

    def number(self) -> int:
        """Return a new number for ids."""
        self._numbers += 1
        return self._numbers

    def of(self, deployment: Deployment) -> list[Task]:
        """Return a deployment's tasks that are not stopped."""
        mine = (task for task in self.tasks if task.deployment == deployment.id)
        return [task for task in mine if task.status != "STOPPED"]

    def wanted(self, deployment: Deployment | None = None) -> list[Task]:
        """Return the tasks that are not being stopped, of one deployment or of all."""
        tasks = self.tasks if deployment is None else self.of(deployment)
        return [task for task in tasks if task.wanted]

    def deploy(self, definition: Mapping[str, Any]) -> None:
        """Start a new deployment."""
        for old in self.deployments:
            old.status = "ACTIVE"
        new = Deployment(f"ecs-svc/{self.name}-{self.number()}", definition, self.time.now)
        if self.fates.shortage:
            new.unplaced_until = self.time.now + self.fates.shortage
        self.deployments.insert(0, new)

    def say(self, text: str) -> None:
        """Add an event."""
        event = {"id": f"{self.name}-e{self.number()}", "createdAt": self.time.date()}
        self.events.insert(0, {**event, "message": f"(service {self.name}) {text}"})
        del self.events[100:]

    def run(self) -> None:
        """Look once, and again after a pause, until the service is deleted."""
        if self.status == "INACTIVE":
            return
        self._stop_the_unhealthy()
        self._start()
        self._stop_surplus()
        self._conclude()
        self.time.after(PAUSE, self.run)

    def _percent(self, name: str, default: int) -> float:
        configured = self.settings.get("deploymentConfiguration", {}).get(name)
        return (default if configured is None else configured) / 100

    def _start(self) -> None:
        primary = self.primary
        missing = self.desired - len(self.wanted(primary))
        room = math.floor(self.desired * self._percent("maximumPercent", 200)) - len(self.wanted())
        if min(missing, room) > 0 and self.time.now < primary.unplaced_until:
            text = f"was unable to place a task. Reason: {CAPACITY}."
            if not self.events or text not in self.events[0]["message"]:
                self.say(text)
            return
        for _ in range(min(missing, room)):
            self._launch(primary)

    def _launch(self, deployment: Deployment) -> None:
        number = self.number()
        image = deployment.definition["containerDefinitions"][0]["image"]
        balanced = self.settings.get("loadBalancers") or [{}]
        task = Task(
            time=self.time,
            id=f"{zlib.crc32(self.name.encode()):08x}{number:024x}",
            service=self.name,
            deployment=deployment.id,
            definition=deployment.definition,
            fate=self.fates.take(deployment),
            quality=self.quality(image),
            address=f"10.0.{len(self.name)}.{number % 250 + 1}",
            created=self.time.now,
            group=balanced[0].get("targetGroupArn", ""),
        )
        self.tasks.append(task)
        self.say(f"has started 1 tasks: (task {task.id}).")
        self.time.after(task.fate.provisioning, lambda: self._provisioned(task))

    def _provisioned(self, task: Task) -> None:
        if not task.wanted:
            return
        if task.fate.failure:
            self._fail(task, "TaskFailedToStart", task.fate.failure)
            return
        task.status = "PENDING"
        self.time.after(task.fate.pulling, lambda: self._running(task))

    def _running(self, task: Task) -> None:
        if not task.wanted:
            return
        task.status, task.running_at = "RUNNING", self.time.now
        ends = {Quality.CRASHES: 1.5, Quality.DIES: task.fate.starting + 14.0}
        if task.quality in ends:
            self.time.after(ends[task.quality], lambda: self._exit(task))

    def _exit(self, task: Task) -> None:
        if task.wanted and task.status == "RUNNING":
            task.exit_code = 1
            self._fail(task, "EssentialContainerExited", "Essential container in task exited")

    def _fail(self, task: Task, code: str, reason: str) -> None:
        for deployment in self.deployments:
            if deployment.id == task.deployment:
                deployment.failed += 1
        self._end(task, code, reason)
        task.status, task.stopped_at = "STOPPED", self.time.now

    def _end(self, task: Task, code: str, reason: str) -> None:
        task.wanted, task.stop_code, task.stopped_reason = False, code, reason
        task.drain_from = self.time.now

    def stop(self, task: Task, reason: str) -> None:
        """Drain and stop a task."""
        if not task.wanted:
            return
        drains = task.target() is not None
        self._end(task, "ServiceSchedulerInitiated", reason)
        if task.status == "RUNNING":
            task.status = "DEACTIVATING"

        def stopped() -> None:
            task.status, task.stopped_at = "STOPPED", self.time.now
            if task.running_at is not None and task.exit_code is None:
                task.exit_code = 0

        self.time.after((DEREGISTRATION if drains else 0.0) + STOPPING, stopped)

    def _stop_the_unhealthy(self) -> None:
        grace = self.settings.get("healthCheckGracePeriodSeconds") or 0
        for task in self.wanted():
            if task.running_at is None:
                continue
            found, age = task.target(), self.time.now - task.running_at
            why = ""
            if task.health() == "UNHEALTHY":
                why = "Task failed container health checks"
            elif found and found[0] == "unhealthy" and age > grace:
                why = f"Task failed ELB health checks in (target-group {task.group})"
            if why:
                for deployment in self.deployments:
                    deployment.failed += deployment.id == task.deployment
                self.stop(task, why)

    def _stop_surplus(self) -> None:
        newest = self.wanted(self.primary)
        old = [task for task in self.wanted() if task.deployment != self.primary.id]
        for task in newest[self.desired :]:
            self.stop(task, self._scaling())
        least = math.ceil(self.desired * self._percent("minimumHealthyPercent", 100))
        healthy = sum(task.serves() for task in self.wanted())
        for task in sorted(old, key=Task.serves):
            if task.serves() and healthy - 1 < least:
                continue
            healthy -= task.serves()
            self.stop(task, self._scaling())

    def _scaling(self) -> str:
        return f"Scaling activity initiated by (deployment {self.primary.id})"

    def _conclude(self) -> None:
        primary = self.primary
        self.deployments[1:] = [old for old in self.deployments[1:] if self.of(old)]
        if self.status == "DRAINING" and not any(t.status != "STOPPED" for t in self.tasks):
            self.status = "INACTIVE"
            self.deployments.clear()
            return
        if primary.state != "IN_PROGRESS":
            return
        serving = sum(task.serves() for task in self.wanted(primary))
        old = [task for task in self.wanted() if task.deployment != primary.id]
        if serving >= self.desired and not old:
            primary.state = "COMPLETED"
            primary.reason = f"ECS deployment {primary.id} completed."
            self.completed = primary
            self.say("has reached a steady state.")
        else:
            self._break(primary)

    def _break(self, primary: Deployment) -> None:
        breaker = self.settings.get("deploymentConfiguration", {}).get(
            "deploymentCircuitBreaker", {}
        )
        limit = min(max(math.ceil(self.desired / 2), 3), 200)
        if not breaker.get("enable") or primary.failed < limit:
            return
        primary.state, primary.reason = (
            "FAILED",
            "ECS deployment circuit breaker: tasks failed to start.",
        )
        self.say(f"(deployment {primary.id}) deployment failed: tasks failed to start.")
        if breaker.get("rollback") and self.completed is not None:
            back = self.completed
            self.deploy(back.definition)
            self.primary.reason = f"ECS deployment circuit breaker: rolling back to {back.id}."

    def data(self, prefix: str, cluster: str) -> dict[str, Any]:
        """Return the service as DescribeServices does."""
        running = [t for t in self.tasks if t.status == "RUNNING"]
        pending = [t for t in self.wanted() if t.status in ("PROVISIONING", "PENDING")]
        latest = (
            self.deployments[0].revision if self.deployments else self.settings["taskDefinition"]
        )
        return {
            **{key: value for key, value in self.settings.items() if key != "taskDefinition"},
            "serviceArn": f"{prefix}:service/{cluster}/{self.name}",
            "serviceName": self.name,
            "clusterArn": f"{prefix}:cluster/{cluster}",
            "status": self.status,
            "desiredCount": self.desired,
            "runningCount": len(running),
            "pendingCount": len(pending),
            "launchType": "FARGATE",
            "schedulingStrategy": "REPLICA",
            "taskDefinition": latest,
            "deployments": [self._deployment(item) for item in self.deployments],
            "events": list(self.events),
        }

    def _deployment(self, item: Deployment) -> dict[str, Any]:
        tasks = self.of(item)
        return {
            "id": item.id,
            "status": item.status,
            "taskDefinition": item.revision,
            "desiredCount": self.desired if item.status == "PRIMARY" else 0,
            "runningCount": sum(task.status == "RUNNING" for task in tasks),
            "pendingCount": sum(task.status in ("PROVISIONING", "PENDING") for task in tasks),
            "failedTasks": item.failed,
            "createdAt": self.time.date(item.created),
            "updatedAt": self.time.date(item.created),
            "launchType": "FARGATE",
            "rolloutState": item.state,
            "rolloutStateReason": item.reason,
        }
