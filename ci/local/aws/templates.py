"""CloudFormation: task definitions arrive whole, and a service's resource waits for its tasks.

Source of the rules: CloudFormation User Guide, AWS::ECS::TaskDefinition and AWS::ECS::Service ("a
service resource is complete when the service reaches a steady state").
"""

from collections.abc import Callable
from typing import Any

from ci.local.aws.hook import replace, replace_entry, require
from ci.local.wait import blocking

#: Below these keys are names that people chose.
FREE = ("dockerLabels", "options")
#: Of a task definition; ministack drops them.
DROPPED = ("EphemeralStorage", "InferenceAccelerators", "ProxyConfiguration", "RuntimePlatform")
PATIENCE = 1800.0  # seconds until a service must be steady; three hours on AWS


def apply(ecs: Any, provisioners: Any, stacks: Any) -> None:
    """Correct the ECS resources of stacks."""
    require(ecs, "_services", "_task_defs", "_resolve_td_key", "_primary_deployment")
    handlers = provisioners._RESOURCE_HANDLERS
    replace(provisioners, "_normalize_container_defs", lambda _: camel)
    for action in ("create", "update"):
        table = handlers["AWS::ECS::TaskDefinition"]
        replace_entry(table, action, lambda original: whole(ecs, original))
        replace_entry(handlers["AWS::ECS::Service"], action, lambda original: steady(ecs, original))
    # What waits must not do it on the server's event loop.
    replace(stacks, "_runs_on_worker_thread", lambda original: (
        lambda kind: kind == "AWS::ECS::Service" or original(kind)
    ))  # fmt: skip


def camel(value: Any) -> Any:
    """Return a template's value with its keys as the ECS API writes them, at every depth."""
    if isinstance(value, list):
        return [camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    keys = {name: name[:1].lower() + name[1:] for name in value}
    return {keys[name]: item if keys[name] in FREE else camel(item) for name, item in value.items()}


def whole(ecs: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    """Keep what a template says of a task definition besides its containers."""

    def provision(*arguments: Any) -> Any:
        arn, attributes = original(*arguments)
        properties = next(item for item in reversed(arguments) if isinstance(item, dict))
        definition = ecs._task_defs[ecs._resolve_td_key(arn)]
        definition |= camel({k: v for k, v in properties.items() if k in DROPPED})
        definition["volumes"] = camel(properties.get("Volumes") or [])
        return arn, attributes

    return provision


def steady(ecs: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    """Wait for a service's deployment; fail with it."""

    def provision(*arguments: Any) -> Any:
        arn, attributes = original(*arguments)
        name = arn.split(":service/", 1)[1]

        def state() -> str:
            service = ecs._services.get(name)
            primary = ecs._primary_deployment(service) if service else None
            return str(primary.get("rolloutState")) if primary else "FAILED"

        given_up = _given_up(ecs, name)
        if not blocking(
            lambda: state() != "IN_PROGRESS" or given_up(), seconds=PATIENCE, every=0.1
        ):
            message = f"Service {name} did not stabilize."
            raise ValueError(message)
        if state() == "FAILED" or given_up():
            message = (
                "Error occurred during operation 'ECS Deployment Circuit Breaker was triggered'."
            )
            raise ValueError(message)
        return arn, attributes

    return provision


def _given_up(ecs: Any, name: str) -> Callable[[], bool]:
    """Return whether the deployment that is primary now has failed since."""
    service = ecs._services.get(name)
    begun = ecs._primary_deployment(service) if service else None
    return lambda: begun is not None and begun.get("rolloutState") == "FAILED"
