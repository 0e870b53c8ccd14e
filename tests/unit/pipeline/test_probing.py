"""From where a load balancer is asked: from here if it is reached, else from inside."""

import dataclasses
from typing import Any

import pytest

from ci import infra
from ci.aws import elb
from ci.aws.elb import NO_AGENT, Answer
from ci.aws.probing import DIRECT
from ci.config import LoadBalancer
from ci.errors import ProbeError
from ci.infra import Outputs
from ci.pipeline import probing as module
from ci.pipeline.probing import probing
from ci.release import Image, ReleaseContext
from ci.release.probing.inside import InsideProbe
from tests.unit.release import conftest
from tests.unit.release.fakes.world import World

MINE = Answer(status=404, body={"detail": NO_AGENT})
IMAGES = [Image(agent="supervisor", version="1", reference="registry/acso-supervisor@sha256:1")]


def context(*, internal: bool) -> ReleaseContext:
    made = conftest.context(World())
    return dataclasses.replace(
        made, env=dataclasses.replace(made.env, load_balancer=LoadBalancer(internal=internal))
    )


def outputs(**changes: Any) -> Outputs:
    known: dict[str, Any] = dataclasses.asdict(conftest.Outputs())
    return Outputs(**known, load_balancer_name="balancer", kms_key="key", **changes)


def given(monkeypatch: pytest.MonkeyPatch, answer: Answer, found: Outputs | None) -> list[str]:
    asked: list[str] = []

    async def get(url: str, *, seconds: float = 5.0) -> Answer:  # noqa: ARG001
        asked.append(url)
        return answer

    async def read(_: Any) -> Outputs | None:
        return found

    monkeypatch.setattr(elb, "get", get)
    monkeypatch.setattr(infra, "outputs", read)
    return asked


async def test_a_public_load_balancer_is_asked_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = given(monkeypatch, Answer(status=0), None)
    async with probing(context(internal=False), print) as seen:
        assert seen.probe is DIRECT
    assert asked == []


@pytest.mark.parametrize(
    ("answer", "direct"),
    [
        (MINE, True),
        (Answer(status=0, error="no answer: timed out"), False),
        (Answer(status=200, body={"text": "a router"}), False),  # at the same private address
        (Answer(status=404, body={"text": "another server"}), False),
    ],
)
async def test_an_internal_one_is_asked_from_here_only_if_itself_answers(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, direct: bool
) -> None:
    asked = given(monkeypatch, answer, None)
    async with probing(context(internal=True), print) as seen:
        assert (seen.probe is DIRECT) is direct
        async with probing(seen, print) as again:
            assert isinstance(again.probe, InsideProbe) is not direct
            assert direct or again.probe is seen.probe
    assert asked[0] == "http://balancer/"


async def test_without_a_role_for_probes_an_administrator_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given(monkeypatch, Answer(status=0), outputs())
    async with probing(context(internal=True), print, IMAGES) as seen:
        with pytest.raises(ProbeError, match="no role and security group for probes") as raised:
            await seen.probe.ready()
    assert "administrator" in raised.value.hint


async def test_without_an_image_nothing_can_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    found = outputs(probe_role="arn/role", probe_security_group="sg-probe")
    given(monkeypatch, Answer(status=0), found)
    async with probing(context(internal=True), print) as seen:
        with pytest.raises(ProbeError, match="no agent runs in staging whose image"):
            await seen.probe.ready()


async def test_a_prober_is_made_from_the_stack_s_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    found = outputs(probe_role="arn/role", probe_security_group="sg-probe")
    given(monkeypatch, Answer(status=0), found)
    prober = await module._prober(context(internal=True), IMAGES)
    assert (prober.settings.role, prober.settings.security_group) == ("arn/role", "sg-probe")
    assert prober.settings.image == IMAGES[0].reference
    assert (prober.settings.url, prober.settings.table) == (found.url, found.state_table)
    assert prober.channel.table == found.state_table
