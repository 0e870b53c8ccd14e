"""The AWS in memory, with a log group and with tasks of no service."""

import json
from dataclasses import dataclass, field
from typing import Any

import anyio

from tests.unit.release.fakes.clock import EPOCH
from tests.unit.release.fakes.ecs import START, Task
from tests.unit.release.fakes.world import World

ONCE = 3.0  # seconds that a one-off task runs


def ms(seconds: float) -> int:
    """Return a virtual second as CloudWatch tells it."""
    return int((EPOCH.timestamp() + seconds) * 1000)


def unbounded(command: list[str]) -> list[str]:
    """Return what `timeout --kill-after=N SECONDS COMMAND...` runs."""
    assert command[0] == "timeout", command
    return command[3:]


@dataclass
class LoggedWorld(World):
    """A world whose tasks write; a one-off task writes its command and ends as that says."""

    written: list[dict[str, Any]] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)
    one_off_tasks: list[Task] = field(default_factory=list)
    delay: float = 0.0  # seconds by which the log driver is behind

    def write(self, agent: str, task: str, message: str | dict[str, Any], at: float) -> None:
        """Let a task write a line at a virtual second."""
        text = message if isinstance(message, str) else json.dumps(message)
        self.written.append(
            {
                "logStreamName": f"{agent}/{agent}-agent/{task}",
                "timestamp": ms(at),
                "message": text + "\n",
                "eventId": str(len(self.written)),
            }
        )

    def filter_log_events(
        self,
        logGroupName: str,  # noqa: N803, ARG002
        startTime: int,  # noqa: N803
        endTime: int | None = None,  # noqa: N803
        logStreamNamePrefix: str = "",  # noqa: N803
    ) -> list[dict[str, Any]]:
        return [
            event
            for event in self._there()
            if event["logStreamName"].startswith(logStreamNamePrefix)
            and startTime <= event["timestamp"] <= (endTime or event["timestamp"])
        ]

    def get_log_events(self, logStreamName: str, **request: Any) -> dict[str, Any]:  # noqa: N803
        mine = [event for event in self._there() if event["logStreamName"] == logStreamName]
        start = int(request.get("nextToken", "f/0").removeprefix("f/"))
        page = mine[start : start + 2]  # pages are small, as those of AWS may be
        return {"events": page, "nextForwardToken": f"f/{start + len(page)}"}

    def run_task(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request)
        (override,) = request["overrides"]["containerOverrides"]
        now = anyio.current_time()
        command = unbounded(override["command"])
        if command == ["nowhere"]:
            failure = {"reason": "RESOURCE:MEMORY", "detail": "no room"}
            return {"tasks": [], "failures": [failure]}
        task = Task(
            id=f"once{len(self.one_off_tasks)}",
            service="",
            deployment=request["startedBy"],
            revision=request["taskDefinition"],
            mode="once",
            created=now,
            address="",
        )
        self.one_off_tasks.append(task)
        self.tasks.append(task)
        if command[0] != "pull":
            agent = override["name"].removesuffix("-agent")
            for number, word in enumerate(command):
                self.write(agent, task.id, word, now + START + number / 10)
        return self.describe_tasks(cluster="", tasks=[task.id]) | {"failures": []}

    def stop_task(self, task: str, **_: Any) -> dict[str, Any]:
        self.stops.append(task)
        found = next(item for item in self.one_off_tasks if item.id == task)
        self._stop(found, anyio.current_time(), "UserInitiated", "asked for")
        return {}

    def tick(self) -> None:
        super().tick()
        at = anyio.current_time()
        for task, request in zip(self.one_off_tasks, self.requests, strict=False):
            command = unbounded(request["overrides"]["containerOverrides"][0]["command"])
            if task.stopped is not None or at < task.created + START:
                continue
            if command[0] == "pull":
                self._stop(task, at, "TaskFailedToStart", "CannotPullContainerError: no")
            elif command[0] != "sleep" and at >= task.created + START + ONCE:
                self._stop(task, at, "EssentialContainerExited", "Essential container exited")
                task.exit_code = int(command[-1]) if command[-1].isdigit() else 0

    def _there(self) -> list[dict[str, Any]]:
        """Return what has come through by now."""
        now = ms(anyio.current_time() - self.delay)
        return [event for event in self.written if event["timestamp"] <= now]
