"""Open-loop load: requests are sent when planned, however slowly earlier ones are answered.

Latency counts from the planned time, so that a stall is seen by every request that it delays. A run
that could not send what was planned says nothing about the agents: it is invalid.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from ci.aws.prober import Request, Response

#: Requests that are open at the same time, at most; one more is dropped.
OPEN = 64
#: The part of the planned rate that a run must hold.
HELD = 0.99
#: Seconds before the measured ones, for connections and caches to be there.
WARM_UP = 3.0
Send = Callable[[Request], Response]


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One planned request of a series, and when it is sent: seconds after the begin."""

    at: float
    series: str
    request: Request


@dataclass(kw_only=True)
class Series:
    """What came back: seconds from the planned time to each good response, and the errors."""

    latencies: list[float] = field(default_factory=list)
    errors: int = 0


@dataclass(kw_only=True)
class Run:
    """What was planned and what was sent.

    `open` is how many wait for a response, `last` when the last request was sent.
    """

    planned: int
    seconds: float
    sent: int = 0
    open: int = 0
    last: float = 0.0
    series: dict[str, Series] = field(default_factory=dict)

    @property
    def invalid(self) -> str:
        """Why the run says nothing about the agents; empty if it does."""
        if dropped := self.planned - self.sent:
            return f"{dropped} of {self.planned} requests were not sent: {OPEN} others were open"
        held = self.seconds / max(self.seconds, self.last)
        if held < HELD:
            return f"the requests were sent at {100 * held:.1f} % of the planned rate"
        return ""


def planned(
    series: Mapping[str, Sequence[Request]], *, rate: float, seconds: float, seed: int
) -> list[Shot]:
    """Return the requests of each series at random times, at a rate: a Poisson process.

    The series are interleaved, so that all see the same moments of the machine and the network. A
    series sends its requests in turn.
    """
    source = random.Random(seed)  # noqa: S311 (arrival times)
    shots = []
    for name, requests in series.items():
        whole = seconds + WARM_UP
        times = sorted(source.uniform(0, whole) for _ in range(round(rate * whole)))
        shots += [
            Shot(at=at, series=name, request=requests[number % len(requests)])
            for number, at in enumerate(times)
        ]
    return sorted(shots, key=lambda shot: shot.at)


async def fire(shots: Sequence[Shot], send: Send, *, seconds: float) -> Run:
    """Send the requests when they are planned; those of the warm-up are not in the result."""
    run = Run(planned=len(shots), seconds=seconds + WARM_UP)
    run.series = {shot.series: Series() for shot in shots}
    threads, began = anyio.CapacityLimiter(OPEN), anyio.current_time()

    async def one(shot: Shot) -> None:
        answer = await anyio.to_thread.run_sync(send, shot.request, limiter=threads)
        run.open -= 1
        if shot.at >= WARM_UP:
            _count(run.series[shot.series], answer, anyio.current_time() - began - shot.at)

    async with anyio.create_task_group() as group:
        for shot in shots:
            await anyio.sleep_until(began + shot.at)
            if run.open < OPEN:
                run.open, run.sent = run.open + 1, run.sent + 1
                run.last = anyio.current_time() - began
                group.start_soon(one, shot)
    return run


def _count(series: Series, answer: Response, seconds: float) -> None:
    if 200 <= answer.status < 400:
        series.latencies.append(seconds)
    else:
        series.errors += 1
