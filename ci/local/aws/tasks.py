"""How tasks begin, in all zones of their subnets, and how they end, with the stop reasons of ECS.

Their targets are drained first. Source of the rules: ECS Developer Guide, "Use strategies to define
Amazon ECS task placement", "Stopped task error messages", "Task lifecycle" and "Optimize load
balancer connection draining".
"""

import json
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from ci.local.aws.patching import replace, require
from ci.local.aws.targets import Targets

OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
EXITED = "Essential container in task exited"
#: Seconds that a stop waits for the one before it. Docker 20.10 can deadlock if two containers
#: leave a network at the same time: libnetwork's processEndpointDelete and getSvcRecords take the
#: locks of the controller and of the network in opposite orders.
STAGGER = 1.0
_stopping = threading.Lock()


def apply(ecs: Any, ec2: Any, targets: Targets) -> None:
    """Correct how tasks begin and end."""
    require(ecs, "_task_ip", "_get_docker", "spawn_background", "_deployment_for_task", "_services")
    require(ecs, "_tasks")
    require(ec2, "_subnets")
    replace(ecs, "_cleanup_task_resources", partial(with_draining, ecs, targets))
    replace(ecs, "_mark_task_stopped", partial(with_stop_reason, ecs))
    # The table of API actions keeps the original; only the service scheduler calls this one.
    replace(ecs, "_stop_task", partial(with_scheduler_reason, ecs))
    replace(ecs, "_run_task", with_deployment_id)
    replace(ecs, "_run_task", partial(with_zones, ecs, ec2))


def with_draining(ecs: Any, targets: Targets, original: Callable[..., None]) -> Callable[..., None]:
    """Stop a task's containers only when its deregistered target has finished its requests.

    This runs in the background because StopTask does not wait for the task's end.
    """

    def stop(task: Any, client: Any, extra: Any) -> None:
        targets.drain(ecs._task_ip(task))
        acquired = _stopping.acquire(timeout=STAGGER)
        try:
            original(task, client, extra)
        finally:
            if acquired:
                _stopping.release()

    def cleanup(task: Any, client: Any, extra: Any = None) -> None:
        if client is None:  # the container has ended by itself; it is kept for its log
            targets.drain(ecs._task_ip(task), seconds=0)
            original(task, client, extra)
        else:
            ecs.spawn_background(stop, task, client, extra, thread_name="acso-stop-task")

    return cleanup


def with_stop_reason(ecs: Any, original: Callable[..., bool]) -> Callable[..., bool]:
    """Set ECS's stop reason when a container ends, also if it ran out of memory."""

    def stopped(
        arn: str, task: Any, reason: str, stop_code: str, exit_code: int | None = None
    ) -> bool:
        if stop_code == "EssentialContainerExited":
            reason = EXITED
            for container, name in zip(task["containers"], task["_docker_ids"], strict=False):
                if _out_of_memory(ecs._get_docker(), name):
                    container["reason"] = OUT_OF_MEMORY
        return original(arn, task, reason, stop_code, exit_code)

    return stopped


def with_scheduler_reason(ecs: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    """Set the stop reason that the service scheduler gives, with the deployment."""

    def stop(data: dict[str, Any]) -> Any:
        task = ecs._resolve_task(data["task"], ecs._resolve_cluster_name(data["cluster"]))
        running = task is not None and task.get("lastStatus") != "STOPPED"
        answer = original(data)
        if running and task is not None:
            task["stopCode"] = "ServiceSchedulerInitiated"
            deployment = task.get("_deployment_id") or data["cluster"]
            task["stoppedReason"] = f"Scaling activity initiated by (deployment {deployment})"
        return answer

    return stop


def with_deployment_id(original: Callable[..., Any]) -> Callable[..., Any]:
    """Set `startedBy` of a service's task to the id of its deployment."""

    def run(data: dict[str, Any]) -> Any:
        deployment = data.get("_deploymentId")
        return original(data | {"startedBy": deployment} if deployment else data)

    return run


def with_zones(ecs: Any, ec2: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    """Spread the tasks of a service's revision over the zones of its subnets."""

    def run(data: dict[str, Any]) -> Any:
        answer = original(data)
        network = (data.get("networkConfiguration") or {}).get("awsvpcConfiguration") or {}
        subnets = (ec2._subnets.get(name) for name in network.get("subnets", ()))
        zones = sorted({subnet["AvailabilityZone"] for subnet in subnets if subnet})
        for item in json.loads(answer[2]).get("tasks", ()):
            task = ecs._tasks.get(item["taskArn"])
            if task and zones:
                used = _zones(ecs, task)
                task["availabilityZone"] = min(zones, key=lambda zone: used[zone])
        return answer

    return run


def _zones(ecs: Any, task: dict[str, Any]) -> Counter[str]:
    """Return how many other tasks of a task's service and revision each zone has."""
    same = ("group", "taskDefinitionArn")
    return Counter(
        other["availabilityZone"]
        for other in list(ecs._tasks.values())
        if other is not task
        and other["lastStatus"] != "STOPPED"
        and all(other[name] == task[name] for name in same)
    )


def _out_of_memory(client: Any, container: str) -> bool:
    from docker.errors import DockerException

    try:
        return bool(client.containers.get(container).attrs["State"]["OOMKilled"])
    except DockerException:
        return False
