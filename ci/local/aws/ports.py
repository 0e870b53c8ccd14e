"""Ports of targets: each task is registered with its own, also while its service moves to another.

Source of the rule: ECS API Reference, UpdateService, `loadBalancers`: tasks of earlier deployments
keep the configuration that they were started with until they stop.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ci.local.aws.patching import replace, require


def apply(ecs: Any, alb: Any) -> None:
    """Correct the ports that a service's tasks are registered with."""
    require(ecs, "_tasks", "_task_ip", "_task_defs", "_resolve_td_key")

    def with_own_ports(original: Callable[..., bool]) -> Callable[..., bool]:
        def publish(
            arn: str, targets: Sequence[tuple[str, int]], previous: Iterable[str] = ()
        ) -> bool:
            tasks = {ecs._task_ip(task): task for task in list(ecs._tasks.values())}
            own = [
                (address, own_port(definitions(ecs, tasks[address]), port))
                if address in tasks
                else (address, port)
                for address, port in targets
            ]
            return original(arn, own, previous)

        return publish

    replace(alb, "set_targets_for_group", with_own_ports)


def definitions(ecs: Any, task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the container definitions that a task was started with."""
    key = ecs._resolve_td_key(task["taskDefinitionArn"])
    return list((ecs._task_defs.get(key) or {}).get("containerDefinitions", []))


def own_port(containers: Iterable[Mapping[str, Any]], port: int) -> int:
    """Return the port that a task listens on: the service's, unless the task does not have it."""
    ports = [
        int(mapping["containerPort"])
        for container in containers
        for mapping in container.get("portMappings") or ()
    ]
    return port if port in ports or not ports else ports[0]
