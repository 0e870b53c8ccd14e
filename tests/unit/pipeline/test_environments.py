"""Validation of a release whose prober may end in the middle."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

import validation
from ci.aws.elb import Answer, not_examined
from ci.aws.prober import Request
from ci.aws.probing import Probe
from ci.errors import ProbeError
from ci.pipeline import environments
from tests.unit.release.conftest import context
from tests.unit.release.fakes.world import World
from validation import Verdict


class Flaky(Probe):
    """A probe that may not send a request, and may not get ready."""

    def __init__(self, *, recovers: bool = True) -> None:
        self.recovers, self.waited = recovers, 0

    def start(self) -> None: ...

    async def ready(self) -> None:
        self.waited += 1
        if not self.recovers:
            raise ProbeError("it does not start")

    async def send(self, request: Request) -> Answer:  # noqa: ARG002
        return not_examined("it has ended")


async def validated(
    monkeypatch: pytest.MonkeyPatch, probe: Flaky, verdicts: list[Verdict], unsent: int
) -> tuple[Any, int]:
    """Validate with these verdicts one after the other; return the report and the runs."""
    runs = 0

    async def run(_: Sequence[str], *__: Any, **given: Any) -> Any:
        nonlocal runs
        runs += 1
        assert given["probe"] is probe
        probe.unsent += unsent
        return SimpleNamespace(verdict=verdicts.pop(0))

    monkeypatch.setattr(validation, "run", run)
    report = await environments.validate(replace(context(World()), probe=probe))
    return report, runs


@pytest.mark.parametrize(
    ("first", "unsent", "runs"),
    [
        (Verdict.PASSED, 0, 1),
        (Verdict.PASSED, 2, 1),
        (Verdict.FAILED, 2, 1),  # what was seen is wrong
        (Verdict.UNDECIDED, 0, 1),  # for another reason
        (Verdict.UNDECIDED, 1, 2),
    ],
)
async def test_suites_run_again_if_requests_could_not_be_sent(
    monkeypatch: pytest.MonkeyPatch, first: Verdict, unsent: int, runs: int
) -> None:
    probe = Flaky()
    report, found = await validated(monkeypatch, probe, [first, Verdict.PASSED], unsent)
    assert (found, probe.waited) == (runs, runs - 1)
    assert report.verdict is (first if runs == 1 else Verdict.PASSED)


async def test_without_a_prober_there_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProbeError, match="it does not start"):
        await validated(monkeypatch, Flaky(recovers=False), [Verdict.UNDECIDED], 1)
