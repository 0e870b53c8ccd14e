"""Requests through a prober: what comes back, and what a prober's faults lead to."""

import anyio
import pytest

from ci.aws.prober import Request
from ci.errors import AwsError, ProbeError
from ci.release.probing.inside import ANSWER_SECONDS, BEAT_SECONDS, START_SECONDS, probing_inside
from tests.unit.release.fakes.prober import OUTSIDE, Network

DENIED = AwsError("ecs run_task: AccessDenied", code="AccessDenied", action="ecs:RunTask")
THROTTLED = AwsError("slow down", code="ThrottlingException")
NEVER = float("inf")


def said(network: Network) -> list[str]:
    return [prober.name for prober in network.probers if not prober.stopped]


async def test_a_request_is_sent_inside_and_its_answer_comes_back() -> None:
    network, lines = Network(), list[str]()
    async with probing_inside(network.make(), outside=OUTSIDE, say=lines.append) as probe:
        await probe.ready()
        answer = await probe.get(f"{OUTSIDE}/supervisor/health", {"X-Who": "me"})
        post = Request(url=f"{OUTSIDE}/a?b=c", method="POST", body=b"x")
        assert (await probe.send(post)).body == {"path": "/a?b=c"}
    assert answer.body == {"path": "/supervisor/health"}
    (prober,) = network.probers
    assert prober.sent[0].headers == {"Accept": "application/json", "X-Who": "me"}
    assert (prober.sent[1].method, prober.sent[1].body) == ("POST", b"x")
    assert lines == ["requests are sent from task probe0, inside the network"]
    assert prober.stopped


async def test_nothing_is_started_for_a_command_that_asks_nothing() -> None:
    network = Network()
    async with probing_inside(network.make(), outside=OUTSIDE, say=print):
        await anyio.sleep(60)
    assert network.probers == []


async def test_one_prober_answers_many_requests_at_a_time() -> None:
    network, found = Network(), list[int]()
    async with probing_inside(network.make(), outside=OUTSIDE, say=print) as probe:

        async def ask(number: int) -> None:
            answer = await probe.get(f"{OUTSIDE}/{number}")
            found.append(answer.status if answer.body == {"path": f"/{number}"} else 0)

        async with anyio.create_task_group() as group:
            for number in range(40):
                group.start_soon(ask, number)
    assert found == [200] * 40
    assert len(network.probers) == 1


async def test_another_host_is_not_asked() -> None:
    network = Network()
    async with probing_inside(network.make(), outside=OUTSIDE, say=print) as probe:
        for url in ("http://other/x", f"{OUTSIDE}.evil/x", OUTSIDE):
            assert not (await probe.get(url)).examined
    assert network.probers == []


async def test_a_prober_that_starts_says_that_it_does_not_look_yet() -> None:
    network = Network(starts_after=60)
    async with probing_inside(network.make(), outside=OUTSIDE, say=print) as probe:
        answer = await probe.get(f"{OUTSIDE}/x")
        assert (answer.status, answer.examined) == (0, False)
        assert answer.error == "not examined: the prober is starting"
        assert anyio.current_time() < 6
        await probe.ready()
        assert (await probe.get(f"{OUTSIDE}/x")).examined
    assert len(network.probers) == 1


async def test_a_prober_that_never_starts_is_an_error_of_looking_with_its_reason() -> None:
    network = Network(starts_after=NEVER)
    async with probing_inside(network.make(), outside=OUTSIDE, say=print) as probe:
        with pytest.raises(
            ProbeError, match=r"cannot be looked at: prober probe\d ended: it did not"
        ):
            await probe.ready()
        answer = await probe.get(f"{OUTSIDE}/x")
        assert not answer.examined
        assert "did not start within 120 s" in answer.error
    assert said(network) == []
    assert len(network.probers) == 2
    assert anyio.current_time() < 3 * START_SECONDS


async def test_a_prober_that_ends_at_once_is_tried_three_times() -> None:
    network = Network(starts_after=NEVER, dies_after=[1.0] * 9)
    async with probing_inside(network.make(), outside=OUTSIDE, say=print) as probe:
        with pytest.raises(ProbeError, match="exit code 137"):
            await probe.ready()
    assert anyio.current_time() < 60


async def test_a_missing_permission_is_reported_at_once() -> None:
    network = Network(errors={"start": DENIED})
    async with probing_inside(network.make(), outside=OUTSIDE, say=print) as probe:
        with pytest.raises(ProbeError, match="AccessDenied"):
            await probe.ready()
        assert anyio.current_time() < 5
        assert not (await probe.get(f"{OUTSIDE}/x")).examined
    assert len(network.probers) == 1


async def test_a_prober_that_dies_is_replaced_and_its_requests_are_not_examined() -> None:
    network, lines = Network(latency=8.0, dies_after=[12.0]), list[str]()
    async with probing_inside(network.make(), outside=OUTSIDE, say=lines.append) as probe:
        await probe.ready()
        await anyio.sleep(6)
        answer = await probe.get(f"{OUTSIDE}/x")
        assert not answer.examined
        assert "prober probe0 ended: exit code 137: killed (SIGKILL" in answer.error
        network.latency = 0.1
        await probe.ready()
        assert (await probe.get(f"{OUTSIDE}/x")).status == 200
        assert probe.unsent == 1
    assert [prober.name for prober in network.probers] == ["probe0", "probe1"]
    assert said(network) == []
    assert any("another one is started in 2 s" in line for line in lines)


async def test_an_answer_that_is_too_late_is_no_answer_of_a_later_request() -> None:
    network = Network(latency=0.1)
    async with probing_inside(network.make(), outside=OUTSIDE, say=print) as probe:
        await probe.ready()
        network.latency = 20.0
        late = await probe.get(f"{OUTSIDE}/first")
        assert not late.examined
        assert (
            late.error == f"not examined: the prober did not answer within {5 + ANSWER_SECONDS:g} s"
        )
        network.latency = 0.1
        assert (await probe.get(f"{OUTSIDE}/second")).body == {"path": "/second"}
    assert network.probers[0].withdrawn == ["2"]  # so that it is not sent after all


async def test_a_throttled_look_for_answers_costs_no_prober() -> None:
    network = Network()
    async with probing_inside(network.make(), outside=OUTSIDE, say=print) as probe:
        await probe.ready()
        network.errors["answers"] = THROTTLED

        async def later() -> None:
            await anyio.sleep(3)
            network.errors.clear()

        async with anyio.create_task_group() as group:
            group.start_soon(later)
            assert (await probe.get(f"{OUTSIDE}/x")).status == 200
    assert len(network.probers) == 1


async def test_the_prober_gets_signs_of_life_as_long_as_it_is_needed() -> None:
    network = Network()
    async with probing_inside(network.make(), outside=OUTSIDE, say=print) as probe:
        await probe.ready()
        await anyio.sleep(10 * BEAT_SECONDS)
    (prober,) = network.probers
    assert 10 <= len(prober.beats) <= 12


async def failing(network: Network) -> None:
    async with probing_inside(network.make(), outside=OUTSIDE, say=print) as probe:
        await probe.ready()
        raise ValueError("the release itself")


async def test_ctrl_c_and_errors_stop_the_prober() -> None:
    network = Network()
    with anyio.move_on_after(5) as scope:
        async with probing_inside(network.make(), outside=OUTSIDE, say=print) as probe:
            await probe.ready()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    with pytest.raises(ValueError, match="the release itself"):
        await failing(network)
    assert [prober.stopped for prober in network.probers] == [True, True]


async def test_a_rollback_while_the_command_is_cancelled_still_sees() -> None:
    network, found = Network(), list[int]()
    with anyio.move_on_after(5):
        async with probing_inside(network.make(), outside=OUTSIDE, say=print) as probe:
            await probe.ready()
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    found.append((await probe.get(f"{OUTSIDE}/x")).status)
    assert found == [200]
    assert said(network) == []


async def test_a_prober_that_cannot_be_stopped_is_reported() -> None:
    network, lines = Network(errors={"stop": THROTTLED}), list[str]()
    async with probing_inside(network.make(), outside=OUTSIDE, say=lines.append) as probe:
        await probe.ready()
    assert (
        lines[-1] == "prober probe0 may run for another minute, it could not be stopped: slow down"
    )
