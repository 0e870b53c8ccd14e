"""The service scheduler: a deployment is complete when its tasks are healthy, and not before.

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

from ci.local.aws.hook import replace, require
from ci.local.aws.taskhealth import TaskHealth

TICK = 0.1  # seconds
#: Seconds that a failed deployment is listed after the service is steady again, so that who polls
#: sees it. On AWS a rollback takes longer than this.
LISTED = 5.0
FREE_RESTARTS = 3  # failures in a row after which a deployment waits before the next start
LONGEST_PAUSE = 60.0  # seconds; on AWS it grows to minutes
logger = logging.getLogger("acso.scheduler")

Task = dict[str, Any]
Service = dict[str, Any]


class Scheduler:
    """Looks at every service again and again, and moves its deployments on."""

    def __init__(self, ecs: Any, tasks: TaskHealth) -> None:
        self._ecs = ecs
        self._tasks = tasks
        self._guard = threading.Lock()
        self._locks: dict[Hashable, threading.RLock] = {}
        self._failures: dict[str, int] = {}  # of a deployment's tasks, in a row
        self._pause: dict[str, float] = {}  # of a deployment: no start before

    def start(self) -> None:
        """Begin, in a thread that lives as long as the process."""
        threading.Thread(target=self._forever, daemon=True, name="acso-scheduler").start()

    def _forever(self) -> None:
        pause, said = threading.Event(), ""
        while not pause.wait(TICK):
            try:
                self.tick()
            except Exception as error:  # one bad look must not end all looking
                if repr(error) != said:  # nor fill the disk
                    logger.exception("a look at the services failed")
                said = repr(error)

    def tick(self) -> None:
        """Look once at everything."""
        self._tasks.look()
        for (account, region, name), service in self._ecs._services.all_items():
            if service.get("status") == "ACTIVE":
                with self._ecs.request_scope(account, region), self._alone(name):
                    self._look(name, service)

    def _look(self, name: str, service: Service) -> None:
        """Take note of the health of a service's tasks, and let ministack draw its conclusions."""
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
                self._judge(name, service, task)
        primary = ecs._primary_deployment(service)
        rolling = primary is not None and primary.get("rolloutState") == "IN_PROGRESS"
        if rolling or len(tasks) != service.get("desiredCount", 0):
            ecs._refresh_service_state(cluster, f"service:{service['serviceName']}")
            ecs._reconcile_service_tasks(cluster, name)
            ecs._complete_service_deployment(cluster, name)
        elif len(service["deployments"]) > 1:
            ecs._refresh_service_state(cluster, f"service:{service['serviceName']}")

    def _judge(self, name: str, service: Service, task: Task) -> None:
        state, why = self._tasks.state(service, task)
        if state == "healthy" and not task.get("_startup_stable"):
            self._failures.pop(task.get("_deployment_id") or "", None)
            self._ecs._record_service_task_healthy(name, task)
        grace = float(service.get("healthCheckGracePeriodSeconds") or 0)
        if state == "unhealthy" and self._tasks.age(task) >= grace:
            self._replace(task, why)

    def _replace(self, task: Task, why: str) -> None:
        """Stop an unhealthy task; it counts as a failure of its deployment."""
        ecs, arn = self._ecs, task["taskArn"]
        logger.warning("%s: %s", arn, why)
        if ecs._mark_task_stopped(arn, task, why, "ServiceSchedulerInitiated"):
            ecs._record_service_task_failure(task)
            ecs._cleanup_task_resources(task, ecs._get_docker())

    # Replacements of ministack's functions.

    def one_at_a_time(self, original: Callable[..., None]) -> Callable[..., None]:
        """Reconcile a service from one thread at a time: two would both start what is missing."""

        def reconcile(cluster: str, name: str) -> None:
            with self._alone(name):
                original(cluster, name)

        return reconcile

    def throttled(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Delay the restart of tasks that keep failing."""

        def run(data: dict[str, Any]) -> Any:
            if time.monotonic() < self._pause.get(data.get("_deploymentId") or "", 0.0):
                return None  # ministack's scheduler does not look at the answer; it comes again
            return original(data)

        return run

    def counted(self, original: Callable[..., None]) -> Callable[..., None]:
        """Count the failures of a deployment's tasks in a row."""

        def record(task: Task, *rest: Any, **options: Any) -> None:
            deployment = task.get("_deployment_id")
            if deployment:
                number = self._failures[deployment] = self._failures.get(deployment, 0) + 1
                self._pause[deployment] = time.monotonic() + pause(number)
            original(task, *rest, **options)

        return record

    def concluded(self, original: Callable[..., None]) -> Callable[..., None]:
        """Tell in the service's events that a deployment is complete."""

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
                    self._event(service, text)

        return complete

    def listed(self, original: Callable[..., None]) -> Callable[..., None]:
        """Drop failed deployments from the list once the service is steady without them.

        DescribeServices lists deployments that are primary or still have tasks.
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
                or now - item["_steady_since"] < LISTED
            ]

        return refresh

    def _event(self, service: Service, text: str) -> None:
        ecs = self._ecs
        service["events"].insert(
            0, {"id": ecs.new_uuid(), "createdAt": ecs._iso(), "message": text}
        )

    def _scoped(self, name: str) -> Hashable:
        return (self._ecs.get_account_id(), self._ecs.get_region(), name)

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(self._scoped(name), threading.RLock())
        with lock:
            yield


def apply(ecs: Any, scheduler: Scheduler) -> None:
    """Correct the deployments of services."""
    require(ecs, "_tasks", "_services", "_task_defs", "_PRE_STOP_STATUSES", "_primary_deployment")
    require(ecs, "_record_service_task_healthy", "_resolve_td_key")
    require(ecs, "request_scope", "get_account_id", "get_region", "new_uuid", "_iso")
    replace(ecs, "_make_deployment", in_progress)
    replace(ecs, "_schedule_service_deployment_completion", lambda _: lambda *_, **__: None)
    replace(ecs, "_reconcile_service_tasks", scheduler.one_at_a_time)
    replace(ecs, "_run_task", scheduler.throttled)
    replace(ecs, "_record_service_task_failure", scheduler.counted)
    replace(ecs, "_complete_service_deployment", scheduler.concluded)
    replace(ecs, "_refresh_service_state", scheduler.listed)


def in_progress(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Begin every deployment as IN_PROGRESS, a service's first one too."""

    def make(*arguments: Any, **options: Any) -> dict[str, Any]:
        deployment = original(*arguments, **options)
        reason = f"ECS deployment {deployment['id']} in progress."
        return deployment | {"rolloutState": "IN_PROGRESS", "rolloutStateReason": reason}

    return make


def pause(failures: int) -> float:
    """Return the seconds to wait after a number of failures in a row."""
    extra = failures - FREE_RESTARTS
    return min(LONGEST_PAUSE, 2.0 ** min(extra, 10)) if extra > 0 else 0.0
