"""Canonical texts of task definitions and services, for comparison.

Two that mean the same have the same text, whatever order, defaults or units they are written with
and whether they come from a request or a response; so a comparison shows real changes only.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

#: Fields of DescribeTaskDefinition's response that RegisterTaskDefinition does not accept.
RESPONSE_ONLY = frozenset(
    {
        "compatibilities",
        "deregisteredAt",
        "registeredAt",
        "registeredBy",
        "requiresAttributes",
        "revision",
        "status",
        "tags",
        "taskDefinitionArn",
    }
)
#: Defaults that the API adds to a response. Source: Amazon ECS API Reference, data types.
TASK_DEFAULTS: Mapping[str, Any] = {
    "enableFaultInjection": False,
    "runtimePlatform": {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
}
CONTAINER_DEFAULTS: Mapping[str, Any] = {
    "cpu": 0,
    "disableNetworking": False,
    "essential": True,
    "interactive": False,
    "privileged": False,
    "pseudoTerminal": False,
    "readonlyRootFilesystem": False,
    "versionConsistency": "enabled",
}
HEALTH_DEFAULTS: Mapping[str, Any] = {"interval": 30, "retries": 3, "startPeriod": 0, "timeout": 5}
#: Lists in which the order matters; all other lists are sorted.
#: Source: Amazon ECS API Reference, ContainerDefinition.
ORDERED = frozenset(
    {"command", "entryPoint", "dnsServers", "dnsSearchDomains", "environmentFiles", "links"}
)
UNITS = {"vcpu": 1024, "gb": 1024}


def definition(data: Mapping[str, Any]) -> str:
    """Return the canonical text of a task definition, given as request or as response."""
    request = {key: value for key, value in data.items() if key not in RESPONSE_ONLY}
    for size in ("cpu", "memory"):
        if request.get(size):
            request[size] = _number(str(request[size]))
    task = _without(request, TASK_DEFAULTS)
    task["containerDefinitions"] = [
        _container(container) for container in data.get("containerDefinitions", ())
    ]
    return _text(task)


def service(data: Mapping[str, Any]) -> str:
    """Return the canonical text of the service settings that a release controls.

    The task definition is not among them, nor are other settings, such as those that autoscaling
    or a person added: a release does not change them.
    """
    network = data.get("networkConfiguration", {}).get("awsvpcConfiguration", {})
    rollout = data.get("deploymentConfiguration", {})
    breaker = rollout.get("deploymentCircuitBreaker", {})
    return _text(
        {
            "desiredCount": data.get("desiredCount", 0),
            "enableExecuteCommand": bool(data.get("enableExecuteCommand")),
            "healthCheckGracePeriodSeconds": data.get("healthCheckGracePeriodSeconds") or 0,
            "loadBalancers": [
                {key: item.get(key) for key in ("containerName", "containerPort", "targetGroupArn")}
                for item in data.get("loadBalancers", ())
            ],
            "network": {
                "assignPublicIp": network.get("assignPublicIp") or "DISABLED",
                "securityGroups": network.get("securityGroups", ()),
                "subnets": network.get("subnets", ()),
            },
            "rollout": {
                "breaker": bool(breaker.get("enable")),
                "breakerRollsBack": bool(breaker.get("rollback")),
                "maximumPercent": rollout.get("maximumPercent", 200),
                "minimumHealthyPercent": rollout.get("minimumHealthyPercent", 100),
            },
        }
    )


def _container(data: Mapping[str, Any]) -> dict[str, Any]:
    container = _without(data, CONTAINER_DEFAULTS)
    if check := data.get("healthCheck"):
        container["healthCheck"] = _without(check, HEALTH_DEFAULTS)
    container["portMappings"] = [_port(mapping) for mapping in data.get("portMappings", ())]
    return container


def _port(mapping: Mapping[str, Any]) -> dict[str, Any]:
    # In awsvpc mode the host port always equals the container's.
    defaults = {"protocol": "tcp", "hostPort": mapping.get("containerPort")}
    return _without(mapping, defaults)


def _without(data: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without(value, defaults[key]) if isinstance(defaults.get(key), Mapping) else value
        for key, value in data.items()
        if key not in defaults or value != defaults[key]
    }


def _number(size: str) -> str:
    """Return "0.5 vCPU" as "512" and "2 GB" as "2048"; a bare number stays."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(vcpu|gb)\s*", size, re.IGNORECASE)
    if not found:
        return size.strip()
    return str(round(float(found[1]) * UNITS[found[2].lower()]))


def _text(data: Mapping[str, Any]) -> str:
    return json.dumps(_normalised(data), indent=2, sort_keys=True)


def _normalised(value: Any, key: str = "") -> Any:
    """Drop empty values and sort lists without order, recursively."""
    if isinstance(value, Mapping):
        items = {name: _normalised(item, name) for name, item in value.items()}
        return {name: item for name, item in items.items() if not _empty(item)}
    if isinstance(value, (list, tuple)):
        items_ = [_normalised(item) for item in value]
        return (
            items_
            if key in ORDERED
            else sorted(items_, key=lambda i: json.dumps(i, sort_keys=True))
        )
    return value


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, (str, list, dict)) and not value)
