"""An AWS in memory that behaves as documented, for whole releases in milliseconds."""

from dataclasses import dataclass, field
from typing import Any

import anyio

from ci.aws.elb import Answer
from ci.errors import AwsError
from tests.unit.release.fakes.dynamodb import Table
from tests.unit.release.fakes.ecr import Registry
from tests.unit.release.fakes.ecs import Ecs


class Killed(BaseException):
    """What a process meets that is killed: the end, at once and for everything after."""


@dataclass
class World(Ecs, Table, Registry):
    """The state of an account; `Handle`s call its operations, one for each process."""

    calls: list[str] = field(default_factory=list)
    errors: dict[str, AwsError] = field(default_factory=dict)

    def answer(self, url: str) -> Answer:
        """Return what a URL answers: the newest healthy task behind it speaks."""
        agent = url.split("/")[3]
        self.tick()
        at = anyio.current_time()
        serving = [
            task
            for task in self.tasks
            if task.service.endswith(f"-{agent}") and task.healthy(at) and task.stopped is None
        ]
        if not serving:
            return Answer(status=503, error="")
        container = self.definitions[serving[-1].revision]["containerDefinitions"][0]
        given = {item["name"]: item["value"] for item in container["environment"]}
        version = "another" if serving[-1].mode == "liar" else given["ACSO_VERSION"]
        body = {
            "status": "healthy",
            "agent": given["ACSO_AGENT"],
            "version": version,
            "digest": given["ACSO_DIGEST"],
            "environment": given["ACSO_ENVIRONMENT"],
        }
        return Answer(status=200, body=body)

    def running(self) -> dict[str, str]:
        """Return the version that each service's tasks have, once nothing moves any more."""
        self.tick()
        at = anyio.current_time()
        found: dict[str, set[str]] = {}
        for task in self.tasks:
            if task.status(at) == "RUNNING":
                container = self.definitions[task.revision]["containerDefinitions"][0]
                given = {item["name"]: item["value"] for item in container["environment"]}
                found.setdefault(task.service, set()).add(given["ACSO_VERSION"])
        return {name: "+".join(sorted(versions)) for name, versions in found.items()}

    def get_log_events(self, logStreamName: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        agent = logStreamName.partition("/")[0]
        return {"events": [{"message": f"{agent} starts"}, {"message": "RuntimeError: boom"}]}

    def describe_log_groups(self, logGroupNamePrefix: str) -> list[dict[str, str]]:  # noqa: N803
        return [{"logGroupName": logGroupNamePrefix}]

    def list_foundation_models(self) -> dict[str, Any]:
        return {"modelSummaries": [{"modelId": "one"}]}

    def get_caller_identity(self) -> dict[str, str]:
        return {"Account": "123456789012"}


class Handle:
    """One process's way to the world: stands in for `Aws`; may be killed at its nth call."""

    region, endpoint, registry, load_balancer = "us-east-1", None, None, None
    secrets: tuple[str, ...] = ()

    def __init__(self, world: World, *, dies_at: int | None = None) -> None:
        self._world, self._left = world, dies_at

    async def call(self, _service: str, operation: str, /, **arguments: Any) -> Any:
        await anyio.sleep(0.01)
        if self._left is not None:
            if self._left == 0:
                raise Killed
            self._left -= 1
        self._world.calls.append(operation)
        if operation in self._world.errors:
            raise self._world.errors[operation]
        self._world.tick()
        return getattr(self._world, operation)(**arguments)

    def quick(self) -> "Handle":
        return self

    async def pages(self, service: str, operation: str, key: str, /, **arguments: Any) -> Any:
        answer = await self.call(service, operation, **arguments)
        return answer[key] if isinstance(answer, dict) else answer

    async def account(self) -> str:
        return str((await self.call("sts", "get_caller_identity"))["Account"])
