"""The health of tasks, from the checks of their containers and of their load balancers.

Source of the rules: ECS Developer Guide, "Determine Amazon ECS task health using container health
checks" and "Deployment circuit breaker" (a new task counts when it runs and passes the checks of
its containers and of its load balancer).
"""

import time
from collections.abc import Hashable
from typing import Any

from ci.local.aws.health import Rule, State
from ci.local.aws.patching import require
from ci.local.aws.ports import definitions, own_port
from ci.local.aws.probes import Probe, Probes, exec_probe
from ci.local.aws.targets import Targets

#: Seconds that a task must run before it counts as healthy: one that crashes soon after its start
#: may pass a check before. On AWS the first check comes later than this.
MINIMUM_AGE = 1.0
NAMES = {"initial": "UNKNOWN", "healthy": "HEALTHY", "unhealthy": "UNHEALTHY"}

Task = dict[str, Any]
Service = dict[str, Any]


class TaskHealth:
    """Probes all running tasks and computes their health."""

    def __init__(self, ecs: Any, probes: Probes, targets: Targets) -> None:
        require(ecs, "_tasks", "_task_defs", "_resolve_td_key", "_task_ip", "_get_docker")
        require(ecs, "request_scope")
        self._ecs = ecs
        self._probes = probes
        self._targets = targets
        self._running: dict[str, float] = {}  # by task: since when (monotonic)

    def update(self) -> None:
        """Start the probes that are due and record the health of containers in their tasks."""
        running = [
            (account, region, task)
            for (account, region, _), task in self._ecs._tasks.all_items()
            if task.get("lastStatus") == "RUNNING"
        ]
        now = time.monotonic()
        arns = [task["taskArn"] for _, _, task in running]
        self._running = {arn: self._running.get(arn, now) for arn in arns}
        wanted = self._targets.wanted()
        for account, region, task in running:
            with self._ecs.request_scope(account, region):
                wanted |= self._containers(task)
                self._record_health(task)
        self._probes.probe_due(wanted)

    def age(self, task: Task) -> float:
        """Return for how many seconds a task has been running."""
        return time.monotonic() - self._running.get(task["taskArn"], time.monotonic())

    def state(self, service: Service, task: Task) -> tuple[State, str]:
        """Return the health of a running task, and the reason if it is unhealthy."""
        states: list[State] = []
        for key, _ in self._checked(task):
            states.append(self._state_of(key))
            if states[-1] == "unhealthy":
                return "unhealthy", "Task failed container health checks"
        address = self._ecs._task_ip(task)
        for item in service.get("loadBalancers") or []:
            arn = item.get("targetGroupArn")
            if not arn:
                continue
            port = own_port(self._definitions(task), int(item.get("containerPort", 80)))
            target = {"Id": address, "Port": port}
            states.append(self._targets.state(arn, target))
            if states[-1] == "unhealthy":
                return "unhealthy", f"Task failed ELB health checks in (target-group {arn})"
        healthy = self.age(task) >= MINIMUM_AGE and set(states) <= {"healthy"}
        return ("healthy" if healthy else "initial"), ""

    def _record_health(self, task: Task) -> None:
        """Set the health that DescribeTasks returns; a task has that of its worst container."""
        states = []
        for key, index in self._checked(task):
            states.append(self._state_of(key))
            task["containers"][index]["healthStatus"] = NAMES[states[-1]]
        for state in ("unhealthy", "initial", "healthy"):
            if state in states:
                task["healthStatus"] = NAMES[state]
                return

    def _state_of(self, key: Hashable) -> State:
        health = self._probes.health(key)
        return health.state if health is not None else "initial"

    def _containers(self, task: Task) -> dict[Hashable, tuple[Rule, Probe]]:
        """Return the probes of a task's containers that have a health check."""
        found: dict[Hashable, tuple[Rule, Probe]] = {}
        started = list(task.get("_docker_ids") or [])
        for key, index in self._checked(task):
            if index < len(started):
                check = self._definitions(task)[index]["healthCheck"]
                found[key] = (health_rule(check), self._exec(started[index], check["command"]))
        return found

    def _checked(self, task: Task) -> list[tuple[Hashable, int]]:
        """Return key and index of a task's essential containers that have a health check."""
        return [
            (("container", task["taskArn"], index), index)
            for index, cdef in enumerate(self._definitions(task))
            if (cdef.get("healthCheck") or {}).get("command", ["NONE"])[0] != "NONE"
            and cdef.get("essential", True)
        ]

    def _definitions(self, task: Task) -> list[dict[str, Any]]:
        return definitions(self._ecs, task)

    def _exec(self, container: str, command: list[str]) -> Probe:
        shell = ["/bin/sh", "-c", " ".join(command[1:])]
        chosen = {"CMD": command[1:], "CMD-SHELL": shell}.get(command[0], command)
        return lambda: exec_probe(self._ecs._get_docker(), container, chosen)


def health_rule(check: dict[str, Any]) -> Rule:
    """Return the rule of a container's health check; defaults are those of ECS."""
    return Rule(
        interval=float(check.get("interval") or 30),
        failures=int(check.get("retries") or 3),
        grace=float(check.get("startPeriod") or 0),
    )
