"""Open-loop load: planned times count, and a run that did not send what it planned is invalid."""

import itertools
import threading
from typing import Any

import anyio
import pytest

from ci.aws.prober import Request, Response
from tests.unit.release.fakes.clock import VirtualLoop
from validation.regression import load

GOOD = Response(status=200)
REQUESTS = {"old": [Request(url="a"), Request(url="b")], "new": [Request(url="c")]}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": VirtualLoop}


@pytest.fixture
def immediate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send in the event loop: nothing takes time but what the tests let take time."""

    async def run(send: load.Send, request: Request, **_: object) -> Response:
        await anyio.lowlevel.checkpoint()
        return send(request)

    monkeypatch.setattr(anyio.to_thread, "run_sync", run)


def test_the_series_are_interleaved_at_the_planned_rate() -> None:
    shots = load.planned(REQUESTS, rate=10, seconds=60, seed=1)
    assert shots == load.planned(REQUESTS, rate=10, seconds=60, seed=1)
    assert [shot.at for shot in shots] == sorted(shot.at for shot in shots)
    for name in REQUESTS:
        own = [shot for shot in shots if shot.series == name]
        assert len(own) == 630
        assert 270 < sum(shot.at < 31 for shot in own) < 350
    assert {shot.request.url for shot in shots if shot.series == "old"} == {"a", "b"}
    switches = sum(one.series != two.series for one, two in itertools.pairwise(shots))
    assert switches > 500


@pytest.mark.usefixtures("immediate")
async def test_a_run_has_the_responses_after_the_warm_up() -> None:
    shots = load.planned(REQUESTS, rate=10, seconds=10, seed=1)
    failing = [0]

    def send(request: Request) -> Response:
        failing[0] += request.url == "c"
        return Response(status=503) if request.url == "c" else GOOD

    run = await load.fire(shots, send, seconds=10)
    late = [shot for shot in shots if shot.at >= load.WARM_UP]
    assert (run.invalid, run.planned, run.sent, run.open) == ("", 260, 260, 0)
    assert len(run.series["old"].latencies) == sum(shot.series == "old" for shot in late)
    assert run.series["new"].errors == sum(shot.series == "new" for shot in late)
    assert max(run.series["old"].latencies) < 0.001


async def test_a_stall_delays_every_request_that_was_planned_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stalled = (8.0, 9.0)

    async def run(_: load.Send, __: Request, **___: object) -> Response:
        now = anyio.current_time() - began
        if stalled[0] <= now < stalled[1]:
            await anyio.sleep_until(began + stalled[1])
        return GOOD

    monkeypatch.setattr(anyio.to_thread, "run_sync", run)
    shots = load.planned({"a": [Request(url="a")]}, rate=20, seconds=10, seed=1)
    began = anyio.current_time()
    found = await load.fire(shots, lambda _: GOOD, seconds=10)
    hit = [shot for shot in shots if stalled[0] <= shot.at < stalled[1]]
    slow = [item for item in found.series["a"].latencies if item > 0.001]
    assert len(slow) == len(hit)
    assert max(slow) == pytest.approx(stalled[1] - hit[0].at)
    assert found.invalid == ""


async def test_requests_that_cannot_be_sent_make_the_run_invalid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = anyio.Event()

    async def run(*_: object, **__: object) -> Response:
        await ended.wait()
        return GOOD

    monkeypatch.setattr(anyio.to_thread, "run_sync", run)
    shots = load.planned({"a": [Request(url="a")]}, rate=20, seconds=7, seed=1)
    async with anyio.create_task_group() as group:

        async def end() -> None:
            await anyio.sleep(30)
            ended.set()

        group.start_soon(end)
        found = await load.fire(shots, lambda _: GOOD, seconds=7)
    assert found.invalid == f"{200 - load.OPEN} of 200 requests were not sent: 64 others were open"


def test_a_run_that_held_too_little_of_its_rate_is_invalid() -> None:
    assert load.Run(planned=10, sent=10, seconds=60, last=60.5).invalid == ""
    late = load.Run(planned=10, sent=10, seconds=60, last=61.0)
    assert late.invalid == "the requests were sent at 98.4 % of the planned rate"


async def test_requests_are_sent_from_threads_of_their_own() -> None:
    names = set()

    def send(_: Request) -> Response:
        names.add(threading.current_thread() is threading.main_thread())
        return GOOD

    shots = load.planned({"a": [Request(url="a")]}, rate=1, seconds=1, seed=1)
    found = await load.fire(shots, send, seconds=1)
    assert names == {False}
    assert found.sent == 4
