"""Tasks of ECS on Fargate: their lifecycle, containers, health and targets.

Sources: Amazon ECS Developer Guide, "Task lifecycle", "Stopped tasks error messages"; Elastic Load
Balancing, "Target health status".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tests.unit.release.badday.timeline import Timeline

#: Stopped reasons of failures that ECS retries by itself.
CAPACITY = (
    "Capacity is unavailable at this time. "
    "Please try again later or in a different availability zone"
)
ENI = "Timeout waiting for network interface provisioning to complete."
PULL = "CannotPullContainerError: ref pull has been retried 5 time(s): failed to copy: i/o timeout"
RETRIED = (CAPACITY, ENI, PULL)
DEREGISTRATION = 15.0  # seconds; the target groups' deregistration delay
CHECK = 5.0  # seconds between two checks of a target


class Quality(Enum):
    """How the program in an image behaves."""

    GOOD = "good"
    CRASHES = "crashes"  # at start
    DEAF = "deaf"  # never healthy
    DIES = "dies"  # after it was healthy


@dataclass(frozen=True)
class Fate:
    """The seconds that a task takes, and why it does not start, if so."""

    provisioning: float = 2.0
    pulling: float = 1.0
    starting: float = 1.0  # from RUNNING to the first good answer
    registration: float = 0.0  # extra, until the load balancer counts its target as healthy
    failure: str = ""  # one of RETRIED
    sidecar: str = ""  # "", "first" or "last": a container of AWS's own that exits, in that place


@dataclass
class Task:
    """One task of a service."""

    time: Timeline
    id: str
    service: str
    deployment: str
    definition: Mapping[str, Any]
    fate: Fate
    quality: Quality
    address: str
    created: float
    group: str  # ARN of its target group, empty for none
    status: str = "PROVISIONING"
    wanted: bool = True  # desiredStatus RUNNING
    running_at: float | None = None
    drain_from: float | None = None
    stopped_at: float | None = None
    stop_code: str = ""
    stopped_reason: str = ""
    exit_code: int | None = None

    @property
    def container(self) -> Mapping[str, Any]:
        """The agent's container in the task definition."""
        first: Mapping[str, Any] = self.definition["containerDefinitions"][0]
        return first

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the agent's container."""
        return {item["name"]: item["value"] for item in self.container.get("environment", ())}

    def up(self) -> bool:
        """Return whether the program answers."""
        return (
            self.status == "RUNNING"
            and self.running_at is not None
            and self.quality is not Quality.DEAF
            and self.time.now >= self.running_at + self.fate.starting
        )

    def patience(self) -> float:
        """Return the seconds after RUNNING in which ECS's own check lets the task be unhealthy."""
        check = self.container.get("healthCheck") or {}
        tries = check.get("retries", 3) * check.get("interval", 30)
        return float(check.get("startPeriod", 0) + tries)

    def health(self) -> str:
        """Return the result of the container's own health check."""
        if "healthCheck" not in self.container or self.running_at is None or not self.wanted:
            return "UNKNOWN"
        if self.up():
            return "HEALTHY"
        return "UNKNOWN" if self.time.now < self.running_at + self.patience() else "UNHEALTHY"

    def target(self) -> tuple[str, str, str] | None:
        """Return state, reason code and description of its target; None if it has none."""
        now = self.time.now
        drained = self.drain_from is not None and now >= self.drain_from + DEREGISTRATION
        if not self.group or self.running_at is None or drained:
            return None
        if self.drain_from is not None:
            return "draining", "Target.DeregistrationInProgress", "Deregistration is in progress"
        return self._checked(now - self.running_at)

    def _checked(self, age: float) -> tuple[str, str, str]:
        """Return the result of the load balancer's checks, this long after RUNNING."""
        if self.up() and age >= self.fate.starting + 2 * CHECK + self.fate.registration:
            return "healthy", "", ""
        if age < 1.0:
            return "initial", "Elb.RegistrationInProgress", "Target registration is in progress"
        if self.up() or age < 2 * CHECK:
            return "initial", "Elb.InitialHealthChecking", "Initial health checks in progress"
        return "unhealthy", "Target.Timeout", "Request timed out"

    def serves(self) -> bool:
        """Return whether ECS counts it as healthy."""
        found = self.target()
        checked = "healthCheck" not in self.container or self.health() == "HEALTHY"
        return self.status == "RUNNING" and checked and (found is None or found[0] == "healthy")

    def data(self, cluster: str, account: str) -> dict[str, Any]:
        """Return the task as DescribeTasks does."""
        prefix = f"arn:aws:ecs:us-east-1:{account}"
        own: dict[str, Any] = {
            "name": self.container["name"],
            "containerArn": f"{prefix}:container/{cluster}/{self.id}/agent",
            "image": self.container["image"],
            "lastStatus": "STOPPED" if self.status == "STOPPED" else self.status,
            "healthStatus": self.health(),
            "networkInterfaces": [],
            "runtimeId": f"{self.id}-1",
        }
        if self.exit_code is not None:
            own["exitCode"] = self.exit_code
        if self.stop_code == "TaskFailedToStart" and self.stopped_reason == PULL:
            own["reason"] = PULL
        task: dict[str, Any] = {
            "taskArn": f"{prefix}:task/{cluster}/{self.id}",
            "clusterArn": f"{prefix}:cluster/{cluster}",
            "taskDefinitionArn": self.definition["taskDefinitionArn"],
            "containers": self._containers(own),
            "group": f"service:{self.service}",
            "startedBy": self.deployment,
            "lastStatus": self.status,
            "desiredStatus": "RUNNING" if self.wanted else "STOPPED",
            "healthStatus": self.health(),
            "launchType": "FARGATE",
            "createdAt": self.time.date(self.created),
            "attachments": [self._interface()],
            "overrides": {"containerOverrides": [{"name": self.container["name"]}]},
            "enableExecuteCommand": False,
        }
        if self.running_at is not None:
            task["startedAt"] = self.time.date(self.running_at)
        if self.stop_code:
            task |= {"stopCode": self.stop_code, "stoppedReason": self.stopped_reason}
        if self.stopped_at is not None:
            task["stoppedAt"] = self.time.date(self.stopped_at)
        return task

    def _containers(self, own: dict[str, Any]) -> list[dict[str, Any]]:
        if not self.fate.sidecar or self.running_at is None:
            return [own]
        sidecar = {
            "name": "aws-guardduty-agent-Xk2mJf9",
            "lastStatus": "STOPPED",
            "exitCode": 1,
            "reason": "OutOfMemoryError: Container killed due to memory usage",
            "healthStatus": "UNKNOWN",
            "networkInterfaces": [],
            "runtimeId": f"{self.id}-2",
        }
        return [sidecar, own] if self.fate.sidecar == "first" else [own, sidecar]

    def _interface(self) -> dict[str, Any]:
        details = [{"name": "subnetId", "value": "subnet-0a"}]
        if self.status != "PROVISIONING":
            details.append({"name": "privateIPv4Address", "value": self.address})
        kind = {"id": f"{self.id}-eni", "type": "ElasticNetworkInterface"}
        status = "DELETED" if self.status == "STOPPED" else "ATTACHED"
        return {**kind, "status": status, "details": details}
