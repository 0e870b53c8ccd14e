"""The operations of ECS that a release calls.

Source: Amazon ECS API Reference; errors as its operations list them.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.unit.release.badday.services import Fates, Service
from tests.unit.release.badday.tasks import Quality
from tests.unit.release.badday.timeline import RefusedError, Timeline

PAGE = 3  # ARNs of a page of a list; AWS returns up to 100
KEPT = 3600.0  # seconds for which stopped tasks are returned
SETTINGS = (
    "loadBalancers",
    "networkConfiguration",
    "healthCheckGracePeriodSeconds",
    "deploymentConfiguration",
    "enableExecuteCommand",
)
#: Settings whose change starts a new deployment. Source: API Reference, UpdateService.
REDEPLOYING = ("loadBalancers", "networkConfiguration")


@dataclass
class Ecs:
    """One cluster, its services and the task definitions of the account."""

    time: Timeline
    account: str
    cluster: str
    fates: Fates
    quality: Callable[[str], Quality]
    services: dict[str, Service] = field(default_factory=dict)
    definitions: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """Prefix of ARNs."""
        return f"arn:aws:ecs:us-east-1:{self.account}"

    def call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one operation."""
        answer: dict[str, Any] = getattr(self, f"_{operation}")(copy.deepcopy(dict(request)))
        return answer

    def tasks(self) -> list[Any]:
        """Return all tasks that ECS still knows."""
        known = [task for service in self.services.values() for task in service.tasks]
        recent = self.time.now - KEPT
        return [task for task in known if task.stopped_at is None or task.stopped_at > recent]

    def _in_cluster(self, request: Mapping[str, Any]) -> None:
        if request.get("cluster") not in (self.cluster, f"{self.prefix}:cluster/{self.cluster}"):
            raise RefusedError("ClusterNotFoundException", "Cluster not found.")

    def _describe_clusters(self, request: Mapping[str, Any]) -> dict[str, Any]:
        missing = [name for name in request["clusters"] if name != self.cluster]
        return {
            "clusters": [{"clusterName": self.cluster, "status": "ACTIVE"}],
            "failures": [{"arn": name, "reason": "MISSING"} for name in missing],
        }

    def _describe_services(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._in_cluster(request)
        if len(request["services"]) > 10:
            raise RefusedError("InvalidParameterException", "services can have at most 10 items")
        names = [name.rpartition("/")[2] for name in request["services"]]
        found = [self.services[name] for name in names if name in self.services]
        missing = [name for name in names if name not in self.services]
        return {
            "services": [service.data(self.prefix, self.cluster) for service in found],
            "failures": [{"arn": name, "reason": "MISSING"} for name in missing],
        }

    def _list_services(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._in_cluster(request)
        found = [name for name, item in self.services.items() if item.status != "INACTIVE"]
        arns = [f"{self.prefix}:service/{self.cluster}/{name}" for name in sorted(found)]
        return _page("serviceArns", arns, request)

    def _list_tasks(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._in_cluster(request)
        running = request.get("desiredStatus", "RUNNING") == "RUNNING"
        found = [task for task in self.tasks() if task.wanted == running]
        arns = [f"{self.prefix}:task/{self.cluster}/{task.id}" for task in found]
        return _page("taskArns", arns, request)

    def _describe_tasks(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._in_cluster(request)
        if not 1 <= len(request["tasks"]) <= 100:
            raise RefusedError("InvalidParameterException", "tasks must have 1 to 100 items")
        wanted = {arn.rpartition("/")[2] for arn in request["tasks"]}
        found = [task for task in self.tasks() if task.id in wanted]
        missing = wanted - {task.id for task in found}
        return {
            "tasks": [task.data(self.cluster, self.account) for task in found],
            "failures": [{"arn": arn, "reason": "MISSING"} for arn in sorted(missing)],
        }

    def _stop_task(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._in_cluster(request)
        for service in self.services.values():
            for task in service.tasks:
                if task.id == request["task"].rpartition("/")[2]:
                    service.stop(task, request.get("reason", "Task stopped by user"))
                    return {"task": task.data(self.cluster, self.account)}
        raise RefusedError("InvalidParameterException", "The referenced task was not found.")

    def _register_task_definition(self, request: Mapping[str, Any]) -> dict[str, Any]:
        family = request["family"]
        number = 1 + sum(item["family"] == family for item in self.definitions.values())
        arn = f"{self.prefix}:task-definition/{family}:{number}"
        tags = request.pop("tags", [])  # type: ignore[attr-defined]
        self.definitions[arn] = {
            **request,
            "taskDefinitionArn": arn,
            "revision": number,
            "status": "ACTIVE",
            "compatibilities": ["EC2", "FARGATE"],
            "registeredAt": self.time.date(),
        }
        return {"taskDefinition": self.definitions[arn], "tags": tags}

    def _definition(self, name: str) -> dict[str, Any]:
        short = name.rpartition("/")[2]
        arn = f"{self.prefix}:task-definition/{short}"
        if arn not in self.definitions:
            raise RefusedError("ClientException", "Unable to describe task definition.")
        return self.definitions[arn]

    def _describe_task_definition(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"taskDefinition": self._definition(request["taskDefinition"])}

    def _list_task_definitions(self, request: Mapping[str, Any]) -> dict[str, Any]:
        status = request.get("status", "ACTIVE")
        family = request.get("familyPrefix")
        found = [d for d in self.definitions.values() if d["status"] == status]
        mine = [d for d in found if family in (None, d["family"])]
        mine.sort(key=lambda d: (d["family"], d["revision"]), reverse=request.get("sort") == "DESC")
        return _page("taskDefinitionArns", [d["taskDefinitionArn"] for d in mine], request)

    def _deregister_task_definition(self, request: Mapping[str, Any]) -> dict[str, Any]:
        found = self._definition(request["taskDefinition"])
        found["status"] = "INACTIVE"
        return {"taskDefinition": found}

    def _startable(self, name: str, balancers: list[dict[str, Any]]) -> dict[str, Any]:
        found = self._definition(name)
        if found["status"] != "ACTIVE":
            raise RefusedError("ClientException", "TaskDefinition is inactive")
        ports = {
            (container["name"], mapping["containerPort"])
            for container in found["containerDefinitions"]
            for mapping in container.get("portMappings", [])
        }
        for item in balancers:
            if (item["containerName"], item["containerPort"]) not in ports:
                where = f"The container {item['containerName']} did not have a container port"
                text = f"{where} {item['containerPort']} defined."
                raise RefusedError("InvalidParameterException", text)
        return found

    def _create_service(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._in_cluster(request)
        name, token = request["serviceName"], request.get("clientToken")
        old = self.services.get(name)
        if old and old.status == "ACTIVE" and token and self.tokens.get(token) == request:
            return {"service": old.data(self.prefix, self.cluster)}
        if old and old.status == "DRAINING":
            text = "Unable to Start a service that is still Draining."
            raise RefusedError("InvalidParameterException", text)
        if old and old.status == "ACTIVE":
            text = "Creation of service was not idempotent."
            raise RefusedError("InvalidParameterException", text)
        definition = self._startable(request["taskDefinition"], request.get("loadBalancers", []))
        new = Service(
            name=name,
            time=self.time,
            fates=self.fates,
            quality=self.quality,
            settings={key: request[key] for key in SETTINGS if key in request}
            | {"taskDefinition": definition["taskDefinitionArn"]},
            desired=request.get("desiredCount", 0),
        )
        if token:
            self.tokens[token] = dict(request)
        new.tasks = old.tasks if old else []
        new._numbers = 1000 * len(self.tokens)  # ids differ from those of an earlier namesake
        new.deploy(definition)
        self.services[name] = new
        self.time.after(0.0, new.run)
        return {"service": new.data(self.prefix, self.cluster)}

    def _active(self, request: Mapping[str, Any]) -> Service:
        self._in_cluster(request)
        found = self.services.get(request["service"].rpartition("/")[2])
        if found is None:
            raise RefusedError("ServiceNotFoundException", "Service not found.")
        if found.status != "ACTIVE":
            raise RefusedError("ServiceNotActiveException", "Service was not ACTIVE.")
        return found

    def _update_service(self, request: Mapping[str, Any]) -> dict[str, Any]:
        service = self._active(request)
        revision = request.get("taskDefinition", service.primary.revision)
        balancers = request.get("loadBalancers", service.settings.get("loadBalancers", []))
        if revision != service.primary.revision or "loadBalancers" in request:
            definition = self._startable(revision, balancers)
        else:
            definition = self._definition(revision)
        new = {key: request[key] for key in SETTINGS if key in request}
        moved = any(key in new and new[key] != service.settings.get(key) for key in REDEPLOYING)
        service.settings |= new
        service.desired = request.get("desiredCount", service.desired)
        changed = definition["taskDefinitionArn"] != service.primary.revision
        if changed or moved or request.get("forceNewDeployment"):
            service.settings["taskDefinition"] = definition["taskDefinitionArn"]
            service.deploy(definition)
        return {"service": service.data(self.prefix, self.cluster)}

    def _delete_service(self, request: Mapping[str, Any]) -> dict[str, Any]:
        service = self._active(request)
        if service.desired and not request.get("force"):
            text = "The service cannot be stopped while it is scaled above 0."
            raise RefusedError("InvalidParameterException", text)
        service.status, service.desired = "DRAINING", 0
        for task in service.wanted():
            service.stop(task, "Service deleted")
        return {"service": service.data(self.prefix, self.cluster)}


def _page(key: str, found: list[str], request: Mapping[str, Any]) -> dict[str, Any]:
    start = int(request.get("nextToken", "0"))
    end = start + PAGE
    more = {"nextToken": str(end)} if end < len(found) else {}
    return {key: found[start:end], **more}
