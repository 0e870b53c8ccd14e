from collections.abc import Callable
from typing import Any

import anyio
import pytest
from fastapi import APIRouter
from hypothesis import given
from hypothesis import strategies as st

from agents.common.app import create
from agents.common.callers.calls import (
    ATTEMPTS,
    BREAK_AFTER,
    BREAK_SECONDS,
    Breaker,
    Call,
    CallError,
    Outgoing,
    Peers,
    Reply,
    over_http,
    time_left,
)
from agents.common.callers.rates import Rates
from agents.common.telemetry import logs
from tests.unit.agents.house import PERSON, House, ManualClock

GET = Call(agent="threat-hunter", method="GET", path="/findings")


class Other:
    """Another agent that answers, or fails, as it is told to."""

    def __init__(self, clock: ManualClock, *answers: int | OSError, seconds: float = 0.0) -> None:
        self.clock, self.answers, self.seconds = clock, list(answers), seconds
        self.requests: list[Outgoing] = []

    async def __call__(self, request: Outgoing) -> Reply:
        self.requests.append(request)
        self.clock.advance(self.seconds)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, OSError):
            raise answer
        return Reply(status=answer, body={})

    def peers(self) -> Peers:
        peers = House(clock=self.clock).runtime("supervisor").peers
        peers.transport = self
        return peers


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.mark.parametrize(
    ("answers", "status", "attempts"),
    [
        ((200,), 200, 1),
        ((404,), 404, 1),
        ((500,), 500, 1),
        ((503, 200), 200, 2),
        ((429, 502, 201), 201, 3),
        ((ConnectionError("refused"), 200), 200, 2),
        ((TimeoutError("late"), ConnectionError("reset"), 504, 200), 200, 4),
        ((503,), 503, ATTEMPTS),
    ],
)
async def test_what_may_pass_is_repeated_and_nothing_else(
    answers: tuple[int | OSError, ...], status: int, attempts: int, clock: ManualClock
) -> None:
    other = Other(clock, *answers)
    assert (await other.peers().send(GET)).status == status
    assert len(other.requests) == attempts


async def test_no_answer_is_an_error_that_names_the_agent(clock: ManualClock) -> None:
    other = Other(clock, ConnectionError("refused"))
    with pytest.raises(CallError, match=r"threat-hunter GET /findings: ConnectionError: refused"):
        await other.peers().send(GET)


async def test_a_call_ends_with_its_deadline_and_passes_it_on(clock: ManualClock) -> None:
    other = Other(clock, TimeoutError("late"), seconds=4)
    with pytest.raises(CallError, match="late"):
        await other.peers().send(Call(agent="a", method="GET", path="/", timeout=10))
    left = [float(request.headers["X-Acso-Timeout"]) for request in other.requests]
    assert left[0] == 10
    assert left == sorted(left, reverse=True)
    assert len(left) == 3  # at 0, 4 and 8 seconds
    assert [request.timeout for request in other.requests] == pytest.approx(left, abs=0.001)


async def test_a_call_takes_no_longer_than_the_request_that_it_is_for(clock: ManualClock) -> None:
    other = Other(clock, 200)
    token = time_left.set(lambda: 1.5)
    try:
        await other.peers().send(GET)
        assert other.requests[0].timeout == 1.5
        time_left.set(lambda: 0.0)
        with pytest.raises(CallError, match="no time was left"):
            await other.peers().send(GET)
    finally:
        time_left.reset(token)


async def test_a_call_carries_token_request_id_and_key(clock: ManualClock) -> None:
    other = Other(clock, 200)
    token = logs.request_id.set("r-1")
    try:
        await other.peers().send(
            Call(agent="incident-response", method="POST", path="/x", body={"a": 1}, key="k")
        )
    finally:
        logs.request_id.reset(token)
    [request] = other.requests
    assert request.url == "http://balancer/incident-response/x"
    assert request.body == b'{"a": 1}'
    expected = {"Authorization": "Bearer agent-token", "X-Request-Id": "r-1"}
    assert expected.items() | {("Idempotency-Key", "k")} <= request.headers.items()


async def test_an_agent_that_fails_is_left_alone_and_tried_again(clock: ManualClock) -> None:
    other = Other(clock, ConnectionError("refused"))
    peers = other.peers()
    for _ in range(3):
        with pytest.raises(CallError):
            await peers.send(GET)
    assert len(other.requests) == BREAK_AFTER
    with pytest.raises(CallError, match="not called, 5 calls in a row have failed"):
        await peers.send(GET)
    # Another agent is not affected.
    with pytest.raises(CallError, match="refused"):
        await peers.send(Call(agent="incident-response", method="GET", path="/"))
    other.answers = [200]
    clock.advance(BREAK_SECONDS)
    assert (await peers.send(GET)).ok
    assert (await peers.send(GET)).ok


async def test_without_an_address_no_agent_is_called(clock: ManualClock) -> None:
    peers = Other(clock, 200).peers()
    peers.url = None
    with pytest.raises(CallError, match="ACSO_URL"):
        await peers.send(GET)


@given(outcomes=st.lists(st.one_of(st.booleans(), st.floats(0, 30)), max_size=40))
def test_a_breaker_is_open_only_after_failures_in_a_row(outcomes: list[bool | float]) -> None:
    clock = ManualClock()
    breaker = Breaker(monotonic=clock.monotonic)
    row, opened = 0, clock.monotonic()
    for outcome in outcomes:
        if not isinstance(outcome, bool):
            clock.advance(outcome)
        elif breaker.allows():
            row = 0 if outcome else row + 1
            opened = clock.monotonic()
            breaker.report(ok=outcome)
        else:
            assert row >= BREAK_AFTER
            assert clock.monotonic() - opened < BREAK_SECONDS


@given(pauses=st.lists(st.floats(0, 10), min_size=1, max_size=60))
def test_no_caller_exceeds_its_rate(pauses: list[float]) -> None:
    clock = ManualClock()
    rates = Rates(rate=2, burst=5, monotonic=clock.monotonic)
    allowed = 0
    for pause in pauses:
        clock.advance(pause)
        wait = rates.wait("a")
        allowed += wait == 0
        assert 0 <= wait <= 0.5 + 1e-3
    assert allowed <= 5 + 2 * sum(pauses) + 1


async def test_requests_are_sent_over_http_and_a_closed_port_is_an_error(
    dynamo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    del monkeypatch
    dynamo.status, dynamo.body = 503, {"detail": "busy"}
    headers = {"X-Amz-Target": "x"}
    request = Outgoing(method="POST", url=dynamo.url, headers=headers, body=b"{}", timeout=30)
    reply = await over_http()(request)
    assert reply == Reply(status=503, body={"detail": "busy"})
    closed = Outgoing(method="GET", url="http://127.0.0.1:1", headers={}, body=None, timeout=30)
    with pytest.raises(ConnectionError):
        await over_http()(closed)


async def test_a_request_ends_when_the_time_of_its_caller_is_over(
    client: Callable[..., Any],
) -> None:
    del client
    import httpx

    routes, seen = APIRouter(), []

    @routes.get("/slow")
    async def slow() -> None:
        left = time_left.get()
        assert left is not None
        seen.append(left())
        await anyio.sleep(3600)

    runtime = House().runtime("supervisor")
    transport = httpx.ASGITransport(create(runtime.settings, routes, runtime=runtime))
    async with httpx.AsyncClient(transport=transport, base_url="http://a", headers=PERSON) as http:
        answer = await http.get("/slow", headers={"X-Acso-Timeout": "1"})
    assert answer.status_code == 504
    assert seen[0] <= 1
