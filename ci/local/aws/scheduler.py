"""The service scheduler: a deployment is complete only when its tasks are healthy.

Source of the rules: ECS Developer Guide, "Deployment circuit breaker" (one that is replaced because
a health check fails is a failure), "Service scheduler concepts" (unhealthy tasks are replaced;
restarts of tasks that keep failing are delayed); API Reference, Deployment (rolloutState).
"""

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from ci.local.aws.patching import replace, require
from ci.local.aws.task_health import TaskHealth

TICK = 0.1  # seconds between two updates
#: Seconds for which a failed deployment is still listed once the service is steady again, so that
#: clients that poll see it. On AWS a rollback takes longer than this.
FAILED_LISTED_FOR = 5.0
FREE_RESTARTS = 3  # failures in a row until starts are delayed
MAX_RESTART_DELAY = 60.0  # seconds; on AWS it grows to minutes
logger = logging.getLogger("acso.scheduler")

Task = dict[str, Any]
Service = dict[str, Any]


class Scheduler:
    """Updates the deployments of every service at short intervals."""

    def __init__(self, ecs: Any, tasks: TaskHealth) -> None:
        self._ecs = ecs
        self._tasks = tasks
        self._guard = threading.Lock()
        self._locks: dict[Hashable, threading.RLock] = {}
        self._failures: dict[str, int] = {}  # in a row, by deployment
        self._no_start_before: dict[str, float] = {}  # monotonic seconds, by deployment

    def start(self) -> None:
        """Start the thread that updates services until the process ends."""
        threading.Thread(target=self._run, daemon=True, name="acso-scheduler").start()

    def _run(self) -> None:
        never, logged = threading.Event(), ""
        while not never.wait(TICK):
            try:
                self.tick()
            except Exception as error:  # one failed update must not end the thread
                if repr(error) != logged:  # nor fill the log
                    logger.exception("updating the services failed")
                logged = repr(error)

    def tick(self) -> None:
        """Update the health of all tasks, then all services."""
        self._tasks.update()
        for (account, region, name), service in self._ecs._services.all_items():
            if service.get("status") == "ACTIVE":
                with self._ecs.request_scope(account, region), self._service_lock(name):
                    self._update(name, service)

    def _update(self, name: str, service: Service) -> None:
        """Record the health of a service's tasks and let ministack start, stop and complete."""
        ecs, cluster = self._ecs, name.split("/", 1)[0]
        tasks = [
            task
            for task in list(ecs._tasks.values())
            if task.get("group") == f"service:{service['serviceName']}"
            and task.get("clusterArn") == service.get("clusterArn")
            and task.get("lastStatus") in ecs._PRE_STOP_STATUSES
        ]
        for task in tasks:
            if task.get("lastStatus") == "RUNNING":
                self._check_task(name, service, task)
        primary = ecs._primary_deployment(service)
        rolling = primary is not None and primary.get("rolloutState") == "IN_PROGRESS"
        if rolling or len(tasks) != service.get("desiredCount", 0):
            ecs._refresh_service_state(cluster, f"service:{service['serviceName']}")
            ecs._reconcile_service_tasks(cluster, name)
            ecs._complete_service_deployment(cluster, name)
        elif len(service["deployments"]) > 1:
            ecs._refresh_service_state(cluster, f"service:{service['serviceName']}")

    def _check_task(self, name: str, service: Service, task: Task) -> None:
        state, reason = self._tasks.state(service, task)
        if state == "healthy" and not task.get("_startup_stable"):
            self._failures.pop(task.get("_deployment_id") or "", None)
            self._ecs._record_service_task_healthy(name, task)
        grace = float(service.get("healthCheckGracePeriodSeconds") or 0)
        if state == "unhealthy" and self._tasks.age(task) >= grace:
            self._replace(task, reason)

    def _replace(self, task: Task, reason: str) -> None:
        """Stop an unhealthy task; it counts as a failure of its deployment."""
        ecs, arn = self._ecs, task["taskArn"]
        logger.warning("%s: %s", arn, reason)
        if ecs._mark_task_stopped(arn, task, reason, "ServiceSchedulerInitiated"):
            ecs._record_service_task_failure(task)
            ecs._cleanup_task_resources(task, ecs._get_docker())

    # Replacements of ministack's functions:

    def with_service_lock(self, original: Callable[..., None]) -> Callable[..., None]:
        """Reconcile a service in one thread at a time: two would both start the missing tasks."""

        def reconcile(cluster: str, name: str) -> None:
            with self._service_lock(name):
                original(cluster, name)

        return reconcile

    def with_restart_delay(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Delay the restart of tasks that keep failing."""

        def run(data: dict[str, Any]) -> Any:
            if time.monotonic() < self._no_start_before.get(data.get("_deploymentId") or "", 0.0):
                return None  # ministack's scheduler ignores the answer and tries again
            return original(data)

        return run

    def with_failure_count(self, original: Callable[..., None]) -> Callable[..., None]:
        """Count the failures of a deployment's tasks in a row."""

        def record(task: Task, *rest: Any, **options: Any) -> None:
            deployment = task.get("_deployment_id")
            if deployment:
                number = self._failures[deployment] = self._failures.get(deployment, 0) + 1
                self._no_start_before[deployment] = time.monotonic() + restart_delay(number)
            original(task, *rest, **options)

        return record

    def with_completion_events(self, original: Callable[..., None]) -> Callable[..., None]:
        """Add events to the service when its deployment completes."""

        def complete(cluster: str, name: str, *rest: Any, **options: Any) -> None:
            service = self._ecs._services.get(name)
            before = self._ecs._primary_deployment(service) if service else None
            rolling = before is not None and before.get("rolloutState") == "IN_PROGRESS"
            original(cluster, name, *rest, **options)
            if service and before and rolling and before.get("rolloutState") == "COMPLETED":
                label = f"(service {service['serviceName']})"
                for text in (
                    f"{label} (deployment {before['id']}) deployment completed.",
                    f"{label} has reached a steady state.",
                ):
                    self._add_event(service, text)

        return complete

    def without_old_failures(self, original: Callable[..., None]) -> Callable[..., None]:
        """Remove failed deployments from the list some time after the service is steady again.

        On AWS, DescribeServices lists deployments that are primary or still have tasks.
        """

        def refresh(cluster: str, group: str) -> None:
            original(cluster, group)
            service = self._ecs._services.get(f"{cluster}/{group.partition(':')[2]}")
            primary = self._ecs._primary_deployment(service) if service else None
            if not service or not primary or primary.get("rolloutState") != "COMPLETED":
                return
            now = time.monotonic()
            for item in service["deployments"]:
                item.setdefault("_steady_since", now)
            service["deployments"] = [
                item
                for item in service["deployments"]
                if item is primary
                or item.get("runningCount")
                or item.get("rolloutState") != "FAILED"
                or now - item["_steady_since"] < FAILED_LISTED_FOR
            ]

        return refresh

    def _add_event(self, service: Service, text: str) -> None:
        ecs = self._ecs
        service["events"].insert(
            0, {"id": ecs.new_uuid(), "createdAt": ecs._iso(), "message": text}
        )

    def _lock_key(self, name: str) -> Hashable:
        return (self._ecs.get_account_id(), self._ecs.get_region(), name)

    @contextmanager
    def _service_lock(self, name: str) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(self._lock_key(name), threading.RLock())
        with lock:
            yield


def apply(ecs: Any, scheduler: Scheduler) -> None:
    """Correct the deployments of services."""
    require(ecs, "_tasks", "_services", "_task_defs", "_PRE_STOP_STATUSES", "_primary_deployment")
    require(ecs, "_record_service_task_healthy", "_resolve_td_key")
    require(ecs, "request_scope", "get_account_id", "get_region", "new_uuid", "_iso")
    replace(ecs, "_make_deployment", starting_in_progress)
    replace(ecs, "_schedule_service_deployment_completion", lambda _: lambda *_, **__: None)
    replace(ecs, "_reconcile_service_tasks", scheduler.with_service_lock)
    replace(ecs, "_run_task", scheduler.with_restart_delay)
    replace(ecs, "_record_service_task_failure", scheduler.with_failure_count)
    replace(ecs, "_complete_service_deployment", scheduler.with_completion_events)
    replace(ecs, "_refresh_service_state", scheduler.without_old_failures)


def starting_in_progress(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Start every deployment as IN_PROGRESS, including the first one of a service."""

    def make(*arguments: Any, **options: Any) -> dict[str, Any]:
        deployment = original(*arguments, **options)
        reason = f"ECS deployment {deployment['id']} in progress."
        return deployment | {"rolloutState": "IN_PROGRESS", "rolloutStateReason": reason}

    return make


def restart_delay(failures: int) -> float:
    """Return the seconds to wait before the next start, after this many failures in a row."""
    extra = failures - FREE_RESTARTS
    return min(MAX_RESTART_DELAY, 2.0 ** min(extra, 10)) if extra > 0 else 0.0
