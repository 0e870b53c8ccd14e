"""Measure the agents under load, beside the release before or against what was kept of it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean

import anyio
import urllib3

from ci.aws.metrics import tasks
from ci.aws.prober import Request, Response
from ci.aws.probing import DIRECT
from ci.errors import AwsError, ProbeError
from validation.client import Tokens, agents_of
from validation.model import CheckContext, UnreadableError
from validation.production import performance
from validation.production.inventory import inventory
from validation.regression import load, releases
from validation.regression.beside import VERSIONS, Opponent, opponents, series
from validation.regression.comparison import Pairs
from validation.regression.distribution import Distribution, measured
from validation.regression.releases import Releases

SEED = 20_261_126
REQUEST_SECONDS = 10.0
MEMORY_PAUSE = 5.0  # seconds between two looks at the memory of tasks


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What was measured: pairs of distributions, before and after, by agent.

    Attributes:
        pairs: of the agents that changed.
        against: what they are compared with, in words.
        noise: percent of change that is none.
        sent: requests that were sent.
        skip: why there is nothing to compare; empty if there is.
        invalid: why the run says nothing; empty if it does.
    """

    pairs: Pairs = field(default_factory=dict)
    against: str = ""
    noise: float = 0.0
    sent: int = 0
    skip: str = ""
    invalid: str = ""


async def measurement(context: CheckContext) -> Measurement:
    """Return what was measured; one run of load for all checks.

    Raises:
        UnreadableError: the load cannot be sent from here, or there is nothing to compare with.
    """
    return await context.reads.get("measurement", lambda: _measured(context))


async def _measured(context: CheckContext) -> Measurement:
    if context.probe is not DIRECT:
        raise UnreadableError("requests are sent by a prober, which cannot hold a rate")
    found = await releases.releases(context)
    if (await inventory(context)).embedded:
        return await _beside(context, found)
    return await _against_kept(context, found)


async def _beside(context: CheckContext, found: Releases) -> Measurement:
    """Measure both releases at the same time."""
    if skip := _nothing_to_compare(found):
        return Measurement(skip=skip)
    tokens = (await agents_of(context)).tokens
    async with opponents(context, found) as tasks_, _memory(tasks_) as used:
        wanted = {
            item.series: _requests(context, item.url, item.series.partition(" ")[0], tokens)
            for item in tasks_
        }
        run = await _loaded(context, wanted)
    made = {name: _distribution(item, used.get(name)) for name, item in run.series.items()}
    before, current = (
        {agent: made[series(agent, version)] for agent in found.changed} for version in VERSIONS
    )
    await _keep(context, found, run, current)
    return _measurement(found, before, current, run, "interleaved", context.env.load.noise)


async def _against_kept(context: CheckContext, found: Releases) -> Measurement:
    """Measure the release that runs, and compare it with what was kept of the one before."""
    tokens = (await agents_of(context)).tokens
    names = [agent.name for agent in context.config.agents]
    wanted = {name: _requests(context, context.url, name, tokens) for name in names}
    run = await _loaded(context, wanted)
    used = await _known_memory(context)
    current = {name: _distribution(item, used.get(name)) for name, item in run.series.items()}
    await _keep(context, found, run, current)
    if run.invalid or (skip := _nothing_to_compare(found)):
        return Measurement(invalid=run.invalid, skip="" if run.invalid else skip)
    before = await releases.kept(context, found.before) if found.before else {}
    missing = sorted(set(found.changed) - before.keys())
    if missing:
        message = f"nothing was measured of {', '.join(missing)} in {_id(found)}"
        hint = f"./acso validate --env {context.env.name} --suite performance after each release"
        raise UnreadableError(message, hint=hint)
    return _measurement(
        found, before, current, run, "as measured then", context.env.load.recorded_noise
    )


def _nothing_to_compare(found: Releases) -> str:
    if found.before is None:
        return "no validated release before has other images"
    return "" if found.changed else f"no agent of {_id(found)} has another image"


def _measurement(
    found: Releases,
    before: Mapping[str, Distribution],
    current: Mapping[str, Distribution],
    run: load.Run,
    how: str,
    noise: float,
) -> Measurement:
    return Measurement(
        pairs={agent: (before[agent], current[agent]) for agent in found.changed},
        against=f"{_id(found)}, {how}",
        noise=noise,
        sent=run.sent,
        invalid=run.invalid,
    )


def _id(found: Releases) -> str:
    return f"release {found.before.body['id']}" if found.before else "no release"


async def _keep(
    context: CheckContext, found: Releases, run: load.Run, agents: Mapping[str, Distribution]
) -> None:
    if not run.invalid:
        await releases.keep(context, found.current, agents)


def _distribution(item: load.Series, memory: Sequence[float] | None) -> Distribution:
    return measured(item.latencies, item.errors, fmean(memory) if memory else None)


def _requests(context: CheckContext, base: str, agent: str, tokens: Tokens) -> list[Request]:
    headers = {"Accept": "application/json", "Authorization": f"Bearer {tokens.person}"}
    return [
        Request(url=f"{base}/{agent}{path}", headers=headers, seconds=REQUEST_SECONDS)
        for path in context.env.load.paths
    ]


async def _loaded(context: CheckContext, wanted: Mapping[str, Sequence[Request]]) -> load.Run:
    settings = context.env.load
    shots = load.planned(wanted, rate=settings.rate, seconds=settings.seconds, seed=SEED)
    with urllib3.PoolManager(maxsize=load.OPEN, num_pools=2 * len(wanted) + 1) as pool:
        return await load.fire(shots, partial(_send, pool), seconds=settings.seconds)


def _send(pool: urllib3.PoolManager, request: Request) -> Response:
    """Send a request over a connection that is kept; an error is in the response."""
    try:
        answer = pool.request(
            request.method,
            request.url,
            headers=dict(request.headers),
            timeout=request.seconds,
            retries=False,
            redirect=False,
        )
    except urllib3.exceptions.HTTPError as error:
        return Response(status=0, error=f"no answer: {error}")
    return Response(status=answer.status)


@asynccontextmanager
async def _memory(tasks_: Sequence[Opponent]) -> AsyncIterator[dict[str, list[float]]]:
    """Look at the memory of tasks until the block ends; yield what was seen, by series."""
    seen: dict[str, list[float]] = {}

    async def look() -> None:
        while True:
            for item in tasks_:
                if (used := await _used(item.url)) is not None:
                    seen.setdefault(item.series, []).append(used)
            await anyio.sleep(MEMORY_PAUSE)

    async with anyio.create_task_group() as group:
        group.start_soon(look)
        yield seen
        group.cancel_scope.cancel()


async def _used(url: str) -> float | None:
    try:
        memory = (await tasks.sample(url)).memory
    except ProbeError:
        return None
    return None if memory is None else memory / tasks.MEBIBYTE


async def _known_memory(context: CheckContext) -> dict[str, list[float]]:
    """Return the MiB that the tasks of each agent use, as far as CloudWatch has it.

    An error means no data: the load would be sent again for it.
    """
    try:
        figures = (await performance.measured(context)).figures
    except AwsError:
        return {}
    return {
        agent: [item.memory / 100 * context.env.task(context.config.agent(agent)).memory]
        for agent, item in figures.items()
        if item.memory is not None
    }
