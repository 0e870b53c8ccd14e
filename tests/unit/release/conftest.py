from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ci import config as configuration
from ci import release
from ci.aws import elb
from ci.aws.elb import Answer
from tests.unit.json_documents import result
from tests.unit.release.fakes.clock import VirtualLoop, now
from tests.unit.release.fakes.world import Handle, World

if TYPE_CHECKING:
    from tests.unit.release.fakes.account import ReadyAccount

CONFIG = configuration.load(Path(__file__).parents[2] / configuration.FILE)
COUNT = len(CONFIG.agents)
# A second of baking is a second that every release here would simulate thirty times.
ENV = replace(CONFIG.environment("staging"), bake_time=2)
REQUEST = release.Request(commit="abc", branch="main", actor="tests")
RELEASE = result("release")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """In these tests waiting takes no time."""
    return "asyncio", {"loop_factory": VirtualLoop}


@dataclass(frozen=True, kw_only=True)
class Outputs:
    cluster: str = ENV.cluster
    subnets: tuple[str, ...] = ("subnet-1", "subnet-2")
    security_group: str = "sg-1"
    scaled: tuple[str, ...] = ()
    execution_role: str = "arn:aws:iam::0:role/execution"
    log_group: str = ENV.log_group
    url: str = "http://balancer"
    releases_table: str = "releases"
    state_table: str = "state"
    people_secret: str = "arn:aws:secretsmanager:us-east-1:0:secret:people"
    agents_secret: str = "arn:aws:secretsmanager:us-east-1:0:secret:agents"
    topic: str = "arn:aws:sns:us-east-1:0:acso-staging-alerts"
    target_groups: dict[str, str] = field(
        default_factory=lambda: {a.name: f"arn/{ENV.service(a)}" for a in CONFIG.agents}
    )
    task_roles: dict[str, str] = field(
        default_factory=lambda: {a.name: f"arn:aws:iam::0:role/{a.name}" for a in CONFIG.agents}
    )


@dataclass(frozen=True, kw_only=True)
class ValidationResult:
    ok: bool

    def summary(self) -> str:
        return "all is well" if self.ok else "the moon is in the wrong quarter"


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A process that releases into a world; `context` is its own."""

    world: World
    context: release.ReleaseContext
    lines: list[str] = field(default_factory=list)
    options: release.ReleaseOptions = field(default_factory=release.ReleaseOptions)

    def another(self, *, dies_at: int | None = None) -> "Pipeline":
        """Return another process in the same world; killed at its nth call if wanted."""
        return replace(self, context=context(self.world, dies_at=dies_at), lines=[])

    def within(self, **changes: Any) -> "Pipeline":
        """Return a process whose acso.toml says something else of the environment."""
        env = replace(self.context.env, **changes)
        return replace(self, context=replace(self.context, env=env))

    def behaving(self, **changes: Any) -> "Pipeline":
        """Return a process that waits, stops or goes back otherwise."""
        return replace(self, options=replace(self.options, **changes))

    async def deploy(
        self, name: str = "good", *, valid: bool = True, **others: str
    ) -> release.Outcome:
        outcome = await release.deploy(
            self.context,
            images(name, **others),
            REQUEST,
            validation(valid),
            self.lines.append,
            self.options,
        )
        RELEASE.validate(outcome.data())
        return outcome

    async def rollback(self, to: str | None = None, *, valid: bool = True) -> release.Outcome:
        outcome = await release.rollback(
            self.context, to, REQUEST, validation(valid), self.lines.append, self.options
        )
        RELEASE.validate(outcome.data())
        return outcome


def context(world: World, *, dies_at: int | None = None) -> release.ReleaseContext:
    handle: Any = Handle(world, dies_at=dies_at)
    clock = release.Clock(now=now, jitter=lambda: 0.5)
    return release.ReleaseContext(
        aws=handle, config=CONFIG, env=ENV, outputs=Outputs(), clock=clock
    )


def images(name: str = "good", **others: str) -> list[release.Image]:
    """Return an image for every agent; others by the agent's name with `_`."""
    names = {agent.name: others.get(agent.package, name) for agent in CONFIG.agents}
    return [
        release.Image(agent=agent, version=it, reference=f"registry/acso-{agent}@sha256:{it}")
        for agent, it in names.items()
    ]


def validation(ok: bool) -> release.Validate:
    async def validate(_: release.ReleaseContext) -> ValidationResult:
        return ValidationResult(ok=ok)

    return validate


@pytest.fixture
def new(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Pipeline]:
    """Makes worlds, each with a process that releases into it; the last one answers."""

    def make(kind: type[World] = World) -> Pipeline:
        world = kind()

        async def get(url: str, *, seconds: float = 5.0) -> Answer:  # noqa: ARG001
            return world.answer(url)

        monkeypatch.setattr(elb, "get", get)
        return Pipeline(world=world, context=context(world))

    return make


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> "ReadyAccount":
    """An account with all that a release stands on."""
    from tests.unit.release.fakes.account import ReadyAccount  # late: it takes from here

    made = ReadyAccount()

    async def get(url: str, *, seconds: float = 5.0) -> Answer:  # noqa: ARG001
        return made.answer(url)

    monkeypatch.setattr(elb, "get", get)
    return made


@pytest.fixture
def pipeline(new: Callable[[], Pipeline]) -> Pipeline:
    """A process that releases into a new world."""
    return new()


def versions(world: World) -> dict[str, str]:
    """Return the version that runs, by agent."""
    return {name.removeprefix(f"{ENV.prefix}-"): v for name, v in world.running().items()}


def all_of(name: str, **others: str) -> dict[str, str]:
    """Return a version for every agent."""
    return {agent.name: others.get(agent.package, name) for agent in CONFIG.agents}
