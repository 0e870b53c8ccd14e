"""One AWS account with one environment, and what must hold in it at every moment."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ci.aws import elb
from ci.release import Image
from tests.unit.release.badday.ecs import Ecs
from tests.unit.release.badday.registry import Ecr, Logs
from tests.unit.release.badday.services import Fates
from tests.unit.release.badday.stacks import CloudFormation
from tests.unit.release.badday.tables import Tables
from tests.unit.release.badday.tasks import Quality, Task
from tests.unit.release.badday.timeline import RefusedError, Timeline
from tests.unit.release.badday.wire import Process

ACCOUNT = "123456789012"
REGISTRY = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
LOCK = ("lock", "lock")
LEASE = 15.0  # seconds
FINAL = ("succeeded", "rolled_back", "failed")
#: Operations that change what runs, or what it runs on.
CHANGING = frozenset({"create_service", "update_service", "delete_service", "execute_change_set"})
Digests = dict[str, str]  # by agent


@dataclass
class Account:
    """The modelled account, and the violations seen in it."""

    time: Timeline
    environment: str
    fates: Fates = field(default_factory=Fates)
    releases: list[Digests] = field(default_factory=list)
    qualities: dict[str, Quality] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)  # process by token
    renewed: dict[str, float] = field(default_factory=dict)  # last write of the lock, by process
    alive: set[str] = field(default_factory=set)  # processes
    journal: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    _asked: int = 0

    def __post_init__(self) -> None:
        prefix = f"acso-{self.environment}"
        self.ecs = Ecs(self.time, ACCOUNT, f"{prefix}-cluster", self.fates, self.quality)
        self.table = Tables(f"{prefix}-releases")
        self.ecr, self.logs = Ecr(), Logs({f"/aws/acso/{self.environment}/agents"})
        self.stacks = CloudFormation(self.time, ACCOUNT)

    def push(self, agents: Sequence[str], version: str, bad: Mapping[str, Quality]) -> list[Image]:
        """Return the images of a release, pushed; `bad` are agents that do not work."""
        images, digests = [], {}
        for agent in agents:
            digest = "sha256:" + hashlib.sha256(f"{agent} {version}".encode()).hexdigest()
            self.ecr.repositories.setdefault(f"acso-{agent}", {})[digest] = {digest[7:19]}
            self.qualities[digest] = bad.get(agent, Quality.GOOD)
            reference = f"{REGISTRY}/acso-{agent}@{digest}"
            images.append(Image(agent=agent, version=digest[7:19], reference=reference))
            digests[agent] = digest
        self.releases.append(digests)
        return images

    def quality(self, image: str) -> Quality:
        """Return how an image's program behaves."""
        return self.qualities[image.partition("@")[2]]

    def call(
        self, process: Process, service: str, operation: str, request: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Answer a call, and look at what it did."""
        self.time.advance()
        if operation in CHANGING:
            self._note(process, service, operation, request)
        lock = self.table.items.get(LOCK)
        answer = self._answer(service, operation, request)
        self.time.advance()
        if service == "dynamodb" and operation in {"put_item", "delete_item"}:
            self._written(process, operation, request, lock)
        if operation in CHANGING:
            self.check_record()
        return answer

    def _answer(self, service: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        parts: dict[str, Callable[[str, Mapping[str, Any]], dict[str, Any]]] = {
            "ecs": self.ecs.call,
            "dynamodb": self.table.call,
            "ecr": self.ecr.call,
            "logs": self.logs.call,
            "cloudformation": self.stacks.call,
        }
        if service in parts:
            return parts[service](operation, request)
        if operation == "get_caller_identity":
            return {"Account": ACCOUNT}
        if operation == "describe_target_health":
            return self._targets(request["TargetGroupArn"])
        raise AssertionError(f"the model does not know {service} {operation}")

    def _targets(self, group: str) -> dict[str, Any]:
        if group not in self.stacks.target_groups():
            raise RefusedError("TargetGroupNotFound", "One or more target groups not found")
        found = [(task, task.target()) for task in self.ecs.tasks() if task.group == group]
        return {
            "TargetHealthDescriptions": [
                {
                    "Target": {"Id": task.address, "Port": 8000},
                    "TargetHealth": _health(*target),
                }
                for task, target in found
                if target is not None
            ]
        }

    def answer(self, url: str) -> elb.Answer:
        """Return what the load balancer answers."""
        self.time.advance()
        agent = urlsplit(url).path.split("/")[1]
        service = self.ecs.services.get(f"acso-{self.environment}-{agent}")
        tasks = service.tasks if service else []
        states = [(task, target[0]) for task in tasks if (target := task.target())]
        healthy = [task for task, state in states if state == "healthy"]
        # Without a healthy target, the load balancer uses all that are registered.
        chosen = healthy or [task for task, state in states if state != "draining"]
        self._asked += 1
        if not chosen:
            return elb.Answer(status=503, body={"text": "Service Temporarily Unavailable"})
        return _answer(chosen[self._asked % len(chosen)], agent)

    def running(self) -> Digests:
        """Return the digest that each agent's service moves to, without deleted services."""
        prefix = f"acso-{self.environment}-"
        return {
            name.removeprefix(prefix): _digest(service.primary.definition)
            for name, service in self.ecs.services.items()
            if service.status == "ACTIVE"
        }

    def whole(self) -> bool:
        """Return whether all services of one release run, or none exists.

        Services of agents that this release does not have are removed after its success.
        """
        running = self.running()
        return not running or any(found.items() <= running.items() for found in self.releases)

    def unfinished(self) -> list[str]:
        """Return the records that say that a release has not ended."""
        return [
            f"{kind} {key} {item['state']['S']}"
            for (kind, key), item in self.table.items.items()
            if kind == "release" and item["state"]["S"] not in FINAL
        ]

    def check_record(self) -> None:
        """Note a mixed environment without a record that says so."""
        if not self.whole() and not self.unfinished():
            self._violated(f"mixed without a record: {self.running()}")

    def _written(
        self,
        process: Process,
        operation: str,
        request: Mapping[str, Any],
        lock: Mapping[str, Any] | None,
    ) -> None:
        item = request.get("Item") or request["Key"]
        if (item["pk"]["S"], item["sk"]["S"]) != LOCK:
            self._note(process, "dynamodb", operation, request)
        elif operation == "put_item":
            self._locked(process, item["token"]["S"], lock["token"]["S"] if lock else "")

    def _locked(self, process: Process, token: str, old: str) -> None:
        """Note who holds the lock; nobody may take it from a living holder within its lease."""
        before = self.holders.get(old, "")
        since = self.time.now - self.renewed.get(before, 0.0)
        if before in self.alive - {process.name} and since < LEASE:
            self._violated(f"{process.name} took the lock of {before} after {since:.1f} s")
        self.holders[token] = process.name
        self.renewed[process.name] = self.time.now

    def _note(
        self, process: Process, service: str, operation: str, request: Mapping[str, Any]
    ) -> None:
        """Note a change, which only the holder of the lock may make."""
        item = self.table.items.get(LOCK)
        holder = self.holders.get(item["token"]["S"]) if item else None
        what = request.get("service") or request.get("serviceName") or request.get("StackName")
        what = what or (request.get("Item") or request.get("Key") or {}).get("sk", {}).get("S")
        state = request.get("Item", {}).get("state", {}).get("S", "")
        line = f"{self.time.now:7.1f} {process.name} {service} {operation} {what} {state}"
        self.journal.append(line)
        # A document is written on condition of its owner: it is protected without the lock.
        if service != "dynamodb" and holder != process.name:
            self._violated(f"{line} while {holder or 'nobody'} holds the lock")

    def _violated(self, text: str) -> None:
        self.violations.append(text)


def _digest(definition: Mapping[str, Any]) -> str:
    return str(definition["containerDefinitions"][0]["image"]).partition("@")[2]


def _health(state: str, code: str, description: str) -> dict[str, str]:
    if not code:
        return {"State": state}
    return {"State": state, "Reason": code, "Description": description}


def _answer(task: Task, agent: str) -> elb.Answer:
    if not task.up() or task.quality is Quality.CRASHES:
        return elb.Answer(status=502, body={"text": "Bad Gateway"})
    known = task.environment
    body = {
        "status": "healthy",
        "agent": agent,
        "version": known.get("ACSO_VERSION", "unknown"),
        "digest": known.get("ACSO_DIGEST", "unknown"),
    }
    return elb.Answer(status=200, body=body)
