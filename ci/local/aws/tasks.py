"""How a task ends: its load balancer lets go first, and it says why in ECS's words.

Source of the rules: ECS Developer Guide, "Stopped task error messages", "Task lifecycle" and
"Optimize load balancer connection draining".
"""

import threading
from collections.abc import Callable
from typing import Any

from ci.local.aws.hook import replace, require
from ci.local.aws.targets import Targets

OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
ENDED = "Essential container in task exited"
#: Seconds that a stop waits for the one before. Docker 20.10 can lock itself up for good where
#: containers leave a network in the same instant: libnetwork's processEndpointDelete and
#: getSvcRecords take the controller's and the network's locks in opposite orders.
STAGGER = 1.0
_leaving = threading.Lock()


def apply(ecs: Any, targets: Targets) -> None:
    """Correct how tasks end."""
    require(ecs, "_task_ip", "_get_docker", "spawn_background", "_deployment_for_task", "_services")
    replace(ecs, "_cleanup_task_resources", lambda original: drained(ecs, targets, original))
    replace(ecs, "_mark_task_stopped", lambda original: explained(ecs, original))
    # The table of API actions keeps the original: what calls this one is the service scheduler.
    replace(ecs, "_stop_task", lambda original: by_the_scheduler(ecs, original))
    replace(ecs, "_run_task", started_by_deployment)


def drained(ecs: Any, targets: Targets, original: Callable[..., None]) -> Callable[..., None]:
    """Send SIGTERM when the target, deregistered by then, has answered what it was asked.

    A deregistering target gets no new requests and may finish those under way. It is done in the
    background: stopping a task is a request, not a wait for its end.
    """

    def stop(task: Any, client: Any, extra: Any) -> None:
        targets.drain(ecs._task_ip(task))
        mine = _leaving.acquire(timeout=STAGGER)
        try:
            original(task, client, extra)
        finally:
            if mine:
                _leaving.release()

    def cleanup(task: Any, client: Any, extra: Any = None) -> None:
        if client is None:  # the container has ended by itself; it stays a while for its log
            targets.drain(ecs._task_ip(task), seconds=0)
            original(task, client, extra)
        else:
            ecs.spawn_background(stop, task, client, extra, thread_name="acso-stop-task")

    return cleanup


def explained(ecs: Any, original: Callable[..., bool]) -> Callable[..., bool]:
    """Give ECS's own reason when a container ends, and say so when it had too little memory."""

    def stopped(
        arn: str, task: Any, reason: str, stop_code: str, exit_code: int | None = None
    ) -> bool:
        if stop_code == "EssentialContainerExited":
            reason = ENDED
            for container, name in zip(task["containers"], task["_docker_ids"], strict=False):
                if _out_of_memory(ecs._get_docker(), name):
                    container["reason"] = OUT_OF_MEMORY
        return original(arn, task, reason, stop_code, exit_code)

    return stopped


def by_the_scheduler(ecs: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    """Say that the service scheduler stopped a task, and for which deployment."""

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


def started_by_deployment(original: Callable[..., Any]) -> Callable[..., Any]:
    """Name the deployment as the one that started a service's task."""

    def run(data: dict[str, Any]) -> Any:
        deployment = data.get("_deploymentId")
        return original(data | {"startedBy": deployment} if deployment else data)

    return run


def _out_of_memory(client: Any, container: str) -> bool:
    from docker.errors import DockerException

    try:
        return bool(client.containers.get(container).attrs["State"]["OOMKilled"])
    except DockerException:
        return False
