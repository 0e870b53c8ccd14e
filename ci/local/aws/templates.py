"""CloudFormation: keep all of a task definition; complete a service when its tasks are healthy.

Source of the rules: CloudFormation User Guide, AWS::ECS::TaskDefinition and AWS::ECS::Service ("a
service resource is complete when the service reaches a steady state").
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from ci.local.aws.patching import replace, replace_entry, require
from ci.local.wait import blocking

#: The keys below these are chosen by users, so they are not changed.
USER_KEYS = ("dockerLabels", "options")
#: Properties of a task definition that ministack drops.
DROPPED_PROPERTIES = (
    "EphemeralStorage",
    "InferenceAccelerators",
    "ProxyConfiguration",
    "RuntimePlatform",
)
STEADY_TIMEOUT = 1800.0  # seconds for a service to become steady; on AWS three hours


def apply(ecs: Any, provisioners: Any, stacks: Any) -> None:
    """Correct the ECS resources of stacks."""
    require(ecs, "_services", "_task_defs", "_resolve_td_key", "_primary_deployment")
    handlers = provisioners._RESOURCE_HANDLERS
    replace(provisioners, "_normalize_container_defs", lambda _: camel_case_keys)
    definitions, services = handlers["AWS::ECS::TaskDefinition"], handlers["AWS::ECS::Service"]
    for action in ("create", "update"):
        replace_entry(definitions, action, partial(with_all_properties, ecs))
        replace_entry(services, action, partial(with_steady_state_wait, ecs))
    # Creating a service waits, so it must not run in the server's event loop.
    replace(stacks, "_runs_on_worker_thread", lambda original: (
        lambda kind: kind == "AWS::ECS::Service" or original(kind)
    ))  # fmt: skip


def camel_case_keys(value: Any) -> Any:
    """Return a template's value with keys as in the ECS API (camelCase), at every depth."""
    if isinstance(value, list):
        return [camel_case_keys(item) for item in value]
    if not isinstance(value, dict):
        return value
    keys = {name: name[:1].lower() + name[1:] for name in value}
    return {
        keys[name]: item if keys[name] in USER_KEYS else camel_case_keys(item)
        for name, item in value.items()
    }


def with_all_properties(ecs: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    """Keep the properties of a task definition that ministack drops."""

    def provision(*arguments: Any) -> Any:
        arn, attributes = original(*arguments)
        properties = next(item for item in reversed(arguments) if isinstance(item, dict))
        definition = ecs._task_defs[ecs._resolve_td_key(arn)]
        definition |= camel_case_keys(
            {k: v for k, v in properties.items() if k in DROPPED_PROPERTIES}
        )
        definition["volumes"] = camel_case_keys(properties.get("Volumes") or [])
        return arn, attributes

    return provision


def with_steady_state_wait(ecs: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    """Wait until a service's deployment completes; fail if it fails."""

    def provision(*arguments: Any) -> Any:
        arn, attributes = original(*arguments)
        name = arn.split(":service/", 1)[1]

        def state() -> str:
            service = ecs._services.get(name)
            primary = ecs._primary_deployment(service) if service else None
            return str(primary.get("rolloutState")) if primary else "FAILED"

        failed = _deployment_failed(ecs, name)
        if not blocking(
            lambda: state() != "IN_PROGRESS" or failed(), seconds=STEADY_TIMEOUT, every=0.1
        ):
            message = f"Service {name} did not stabilize."
            raise ValueError(message)
        if state() == "FAILED" or failed():
            message = (
                "Error occurred during operation 'ECS Deployment Circuit Breaker was triggered'."
            )
            raise ValueError(message)
        return arn, attributes

    return provision


def _deployment_failed(ecs: Any, name: str) -> Callable[[], bool]:
    """Return a function that tells whether the deployment that is primary now has failed."""
    service = ecs._services.get(name)
    current = ecs._primary_deployment(service) if service else None
    return lambda: current is not None and current.get("rolloutState") == "FAILED"
