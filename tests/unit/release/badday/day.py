"""A simulated day: an environment, and the commands that are run on it."""

import datetime
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from ci.aws import elb
from ci.aws.target import Target
from ci.common.concurrency import first_of
from ci.config import load
from ci.errors import AcsoError
from ci.infra import environment
from ci.infra.environment_stack import EnvironmentStack
from ci.release import (
    Clock,
    Image,
    Outcome,
    ReleaseContext,
    ReleaseOptions,
    Request,
    deploy,
    rollback,
)
from tests.unit.release.badday.account import Account
from tests.unit.release.badday.services import Fates
from tests.unit.release.badday.tasks import Quality
from tests.unit.release.badday.timeline import Timeline, VirtualLoop
from tests.unit.release.badday.weather import CALM, Weather
from tests.unit.release.badday.wire import CURRENT, KilledError, ModelAws, Process, answer

AGENTS = ("supervisor", "threat-hunter", "incident-response")
MORE, FEWER = (*AGENTS, "service-orchestration"), AGENTS[:2]
ENVIRONMENT = "staging"
Command = Callable[[ReleaseContext], Awaitable[Outcome]]


@dataclass(frozen=True)
class Passed:
    """The report of a validation."""

    ok: bool = True

    def summary(self) -> str:
        """Return nothing to read."""
        return "the model's checks"


@dataclass
class Day:
    """The account, its configuration and the ends of the commands run so far."""

    account: Account
    count: int = 1
    processes: dict[str, Process] = field(default_factory=dict)

    def context(self, process: Process, agents: Sequence[str] = AGENTS) -> Target:
        """Return the target of a process."""
        config = load(Path(__file__).parents[3] / "acso.toml")
        env = replace(
            config.environments[ENVIRONMENT],
            health_grace=90,
            desired_count=self.count,
            bake_time=10,
            account="123456789012",
        )
        chosen = tuple(
            replace(agent, calls=tuple(name for name in agent.calls if name in agents))
            for agent in config.agents
            if agent.name in agents
        )
        config = replace(config, agents=chosen, environments={ENVIRONMENT: env})
        aws = ModelAws(region="us-east-1", process=process)
        return Target(aws=aws, config=config, env=env)

    async def start(self) -> None:
        """Create the infrastructure."""
        process = Process("administrator", self.account)
        await environment.apply(self.context(process), _silent)
        self.account.journal.clear()
        self.account.violations.clear()  # there is no table yet, and no lock

    async def run(
        self, name: str, command: Command, weather: Weather = CALM, agents: Sequence[str] = AGENTS
    ) -> Outcome | AcsoError | None:
        """Run a command to its end; None if it was killed."""
        process = self.processes[name] = Process(name, self.account, weather)
        CURRENT.set(process)
        self.account.alive.add(name)
        try:
            target = self.context(process, agents)
            found = await environment.outputs(target)
            assert found is not None
            return await command(
                ReleaseContext(
                    aws=target.aws,
                    config=target.config,
                    env=target.env,
                    outputs=found,
                    infrastructure=EnvironmentStack(target=target),
                    clock=_clock(process),
                )
            )
        except AcsoError as error:
            return error
        except BaseException as error:
            if first_of(error, KilledError) is None:
                raise
            return None
        finally:
            self.account.alive.discard(name)
            self.account.time.advance()
            self.account.check_record()

    def push(
        self,
        version: str,
        bad: Mapping[str, Quality] | None = None,
        agents: Sequence[str] = AGENTS,
    ) -> list[Image]:
        """Push the images of a release."""
        return self.account.push(agents, version, bad or {})

    def wrong(self, images: Sequence[Image]) -> list[str]:
        """Return what is not as it must be after a good, calm deploy of these images."""
        account, wanted = self.account, {image.agent: image.digest for image in images}
        account.time.advance()
        wrong = list(account.violations)
        if account.running() != wanted:
            wrong.append(f"runs {account.running()}")
        wrong += [f"unfinished: {record}" for record in account.unfinished()]
        wrong += [f"locked: {key}" for key in account.table.items if key[0] == "lock"]
        for service in account.ecs.services.values():
            if service.status == "ACTIVE":
                serving = sum(task.serves() for task in service.wanted(service.primary))
                if serving < self.count:
                    wrong.append(f"{service.name}: {serving} of {self.count} tasks serve")
        return wrong


def deploys(images: Sequence[Image], *, wait: float = 0.0) -> Command:
    """Return the command that deploys these images."""

    async def command(context: ReleaseContext) -> Outcome:
        request = Request(commit="0" * 40, actor="model")
        options = ReleaseOptions(wait=wait)
        return await deploy(context, images, request, _validate, _silent, options)

    return command


def rolls_back(*, wait: float = 0.0) -> Command:
    """Return the command that returns to the release before."""

    async def command(context: ReleaseContext) -> Outcome:
        options = ReleaseOptions(wait=wait)
        return await rollback(context, None, Request(actor="model"), _validate, _silent, options)

    return command


def simulate(
    story: Callable[[Day], Awaitable[None]], *, fates: Fates | None = None, count: int = 1
) -> Day:
    """Run a story in a new account, in virtual time."""
    days: list[Day] = []

    async def main() -> None:
        timeline = Timeline(anyio.current_time)
        day = Day(Account(timeline, ENVIRONMENT, fates or Fates()), count)
        days.append(day)
        await day.start()
        await story(day)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elb, "get", answer)
        anyio.run(main, backend_options={"loop_factory": VirtualLoop})
    return days[0]


async def _validate(_: ReleaseContext) -> Passed:
    CURRENT.get().check()
    return Passed()


def _silent(_: str) -> None:
    """Print nothing."""


def _clock(process: Process) -> Clock:
    offset = datetime.timedelta(seconds=process.weather.clock)

    async def sleep(seconds: float) -> None:
        process.check()
        await anyio.sleep(seconds)
        process.check()

    def now() -> datetime.datetime:
        process.check()
        timeline = process.account.time
        return timeline.date(timeline.clock()) + offset

    def monotonic() -> float:
        process.check()
        return float(anyio.current_time())

    return Clock(now=now, monotonic=monotonic, sleep=sleep, jitter=_half)


def _half() -> float:
    return 0.5


def described(result: Any) -> str:
    """Return an end for people."""
    if result is None:
        return "killed"
    return result.text() if isinstance(result, Outcome) else f"{type(result).__name__}: {result}"
