"""The steady state of an environment, seen by the same probes before, during and after a fault."""

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from ci import release
from ci.aws import ecs
from ci.aws.elb import Answer
from ci.aws.prober import Request
from ci.common.concurrency import parallel
from ci.errors import AcsoError
from validation.client import Tokens

PAUSE = 0.5  # seconds between two looks
SECONDS = 5.0  # for a request


@dataclass(frozen=True, kw_only=True)
class Look:
    """What the probes saw: for each, what is wrong, empty if nothing is.

    `unseen` says why nothing could be seen; `at` is in seconds of the event loop.
    """

    at: float
    problems: Mapping[str, str] = field(default_factory=dict)
    unseen: str = ""

    def failing(self) -> dict[str, str]:
        """Return the probes with a problem."""
        return {name: text for name, text in self.problems.items() if text}


@dataclass(frozen=True, kw_only=True)
class Probes:
    """The probes of an environment: each agent's tasks, `/health` and `/ready`.

    With `tokens`, the model of the agent `asking` as well.
    """

    context: release.ReleaseContext
    tokens: Tokens | None = None
    asking: str = ""

    async def look(self) -> Look:
        """Look once; errors are in the result."""
        began = anyio.current_time()
        agents = [agent.name for agent in self.context.config.agents]
        wanted = [(agent, path) for agent in agents for path in ("health", "ready")]
        wanted += [(self.asking, "model")] * bool(self.tokens)
        try:
            answers = await parallel(lambda item: self._ask(*item), wanted)
            problems = {
                f"{agent} {path}": _wrong(path, answer)
                for (agent, path), answer in zip(wanted, answers, strict=True)
            }
            return Look(at=began, problems={**problems, **await self._tasks()})
        except AcsoError as error:
            return Look(at=began, unseen=str(error))

    async def steady(self, seconds: float) -> Look:
        """Look until all is well, or the time is over; return the last look."""
        end = anyio.current_time() + seconds
        while True:
            found = await self.look()
            if not found.unseen and not found.failing():
                return found
            if anyio.current_time() >= end:
                return found
            await anyio.sleep(PAUSE)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator["Watched"]:
        """Look again and again until the block ends; yield all looks so far."""
        watched = Watched()

        async def watch() -> None:
            while True:
                watched.add(await self.look())
                await anyio.sleep(PAUSE)

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            yield watched
            group.cancel_scope.cancel()

    async def _ask(self, agent: str, path: str) -> Answer:
        found = self.context.config.agent(agent)
        where = found.health_path if path == "health" else f"/{path}"
        headers = {"Accept": "application/json"}
        if path == "model" and self.tokens:
            headers["Authorization"] = f"Bearer {self.tokens.person}"
        url = self.context.url(agent) + where
        return await self.context.probe.send(Request(url=url, headers=headers, seconds=SECONDS))

    async def _tasks(self) -> dict[str, str]:
        context = self.context
        names = {context.env.service(agent): agent.name for agent in context.config.agents}
        found = await ecs.services(context.aws, context.outputs.cluster, names)
        return {
            f"{agent} tasks": _missing(found.get(name)) for name, agent in sorted(names.items())
        }


@dataclass(kw_only=True)
class Watched:
    """The looks so far."""

    looks: list[Look] = field(default_factory=list)
    _next: anyio.Event = field(default_factory=anyio.Event)

    def add(self, look: Look) -> None:
        """Add a look."""
        self.looks.append(look)
        self._next.set()
        self._next = anyio.Event()

    async def until_failing(self, names: frozenset[str], seconds: float) -> bool:
        """Wait until one of these probes has failed; return whether that was in time."""
        with anyio.move_on_after(seconds):
            while not failed(self.looks, names):
                await self._next.wait()
        return failed(self.looks, names)


def _wrong(path: str, answer: Answer) -> str:
    if not answer.examined:
        raise AcsoError(answer.error)
    if answer.status != 200:
        return str(answer)
    if path == "model" and answer.body.get("status") != "ok":
        return str(answer.body.get("detail") or answer)
    return ""


def _missing(service: ecs.Service | None) -> str:
    if service is None or service.status != "ACTIVE":
        return "there is no service"
    if service.running < service.desired or not service.desired:
        return f"{service.running} of {service.desired} tasks"
    return ""


def violations(looks: Sequence[Look], allowed: frozenset[str]) -> dict[str, str]:
    """Return the probes that failed in two looks in a row and were not allowed to; pure.

    One lost answer is no finding.
    """
    found: dict[str, str] = {}
    for one, two in itertools.pairwise(looks):
        for name, text in two.failing().items():
            if name not in allowed and one.failing().get(name):
                found.setdefault(name, text)
    return found


def failed(looks: Sequence[Look], names: frozenset[str]) -> bool:
    """Return whether one of these probes failed."""
    return any(names & look.failing().keys() for look in looks)


def outage(looks: Sequence[Look], probe: str) -> float:
    """Return for how many seconds a probe failed, from its first to its last failure."""
    times = [look.at for look in looks if look.failing().get(probe)]
    return times[-1] - times[0] + PAUSE if times else 0.0
