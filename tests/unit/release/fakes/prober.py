"""A prober in memory, with the faults that a test gives it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import anyio

from ci.aws.ecs import Task
from ci.aws.elb import Answer
from ci.aws.prober import Request
from ci.errors import AcsoError
from ci.release.probing.inside import Make
from ci.release.probing.task import Prober

OUTSIDE = "http://balancer"


@dataclass
class Network:
    """All probers of a test, and what happens to them."""

    answer: Callable[[str], Answer] = lambda path: Answer(status=200, body={"path": path})
    starts_after: float = 2.0  # seconds
    latency: float = 0.1
    dies_after: list[float] = field(default_factory=list)  # seconds of life, prober by prober
    errors: dict[str, AcsoError] = field(default_factory=dict)
    probers: list["FakeProber"] = field(default_factory=list)
    left: int = 0  # how often left ones were looked for

    def make(self) -> Make:
        """Return what makes the probers of a client."""

        async def made() -> Prober:
            self.fail("make")
            life = self.dies_after.pop(0) if self.dies_after else float("inf")
            prober: Any = FakeProber(network=self, life=life, name=f"probe{len(self.probers)}")
            self.probers.append(prober)
            found: Prober = prober
            return found

        return made

    def fail(self, operation: str) -> None:
        """Raise the error of an operation, if it has one."""
        if operation in self.errors:
            raise self.errors[operation]


@dataclass
class FakeProber:
    """One prober and its rows."""

    network: Network
    name: str
    life: float
    began: float = 0.0
    asked: dict[str, tuple[float, Request]] = field(default_factory=dict)
    beats: list[float] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    sent: list[Request] = field(default_factory=list)
    stopped: bool = False

    @property
    def channel(self) -> Any:
        return self

    @property
    def age(self) -> float:
        return anyio.current_time() - self.began

    def running(self) -> bool:
        return self.network.starts_after <= self.age < self.life and not self.stopped

    async def stop_left(self, _: Any) -> None:
        self.network.left += 1

    async def start(self) -> Task:
        await anyio.sleep(0.05)
        self.network.fail("start")
        self.began = anyio.current_time()
        return Task(
            id=self.name, service="", revision="arn/acso-staging-_probe:1", status="PENDING"
        )

    async def state(self, task: Task) -> Task:
        self.network.fail("state")
        if self.age < self.life:
            return replace(task, status="RUNNING" if self.running() else "PENDING")
        return replace(task, status="STOPPED", exit_code=137, stopped_reason="Essential container")

    async def stop(self, _: Task) -> None:
        self.stopped = True
        self.network.fail("stop")

    async def ask(self, name: str, request: Request) -> None:
        self.network.fail("ask")
        self.asked[name] = (anyio.current_time(), request)

    async def withdraw(self, name: str) -> None:
        self.withdrawn.append(name)
        self.asked.pop(name, None)

    async def beat(self, _: int) -> None:
        self.beats.append(anyio.current_time())

    async def answers(self) -> dict[str, Answer]:
        self.network.fail("answers")
        if not self.running():
            return {}
        now = anyio.current_time()
        due = [name for name, (at, _) in self.asked.items() if now - at >= self.network.latency]
        found = {"": Answer(status=200)}
        for name in due:
            request = self.asked.pop(name)[1]
            self.sent.append(request)
            found[name] = self.network.answer(request.url)
        return found
