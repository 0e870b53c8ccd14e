"""Health checks: how often they run, which failures count, and when they pass."""

import pytest

from ci.engine.errors import EngineError
from ci.engine.execution.readiness import until_healthy
from ci.engine.healthcheck import Healthcheck

SHORT = ("interval", 1_000_000)


def check(*times: tuple[str, int], retries: int = 0) -> Healthcheck:
    return Healthcheck(test=("CMD", "probe"), times=times, retries=retries)


class Probe:
    """A command that fails a number of times before it passes."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.runs = 0

    async def __call__(self, args: tuple[str, ...]) -> EngineError | None:
        assert args == ("probe",)
        self.runs += 1
        return EngineError("exit code: 1") if self.runs <= self.failures else None


@pytest.mark.anyio
@pytest.mark.parametrize(("retries", "runs"), [(0, 3), (1, 1), (5, 5)])
async def test_a_check_fails_after_its_retries(retries: int, runs: int) -> None:
    probe = Probe(failures=100)
    with pytest.raises(EngineError, match="health check errored: exit code: 1"):
        await until_healthy(check(SHORT, retries=retries), probe)
    assert probe.runs == runs


@pytest.mark.anyio
async def test_a_check_passes_at_its_first_success() -> None:
    probe = Probe(failures=2)
    await until_healthy(check(SHORT), probe)
    assert probe.runs == 3


@pytest.mark.anyio
async def test_failures_in_the_start_period_do_not_count() -> None:
    probe = Probe(failures=4)
    await until_healthy(check(SHORT, ("startPeriod", 3600 * 10**9), retries=1), probe)
    assert probe.runs == 5


def test_the_command_of_a_check_is_run_by_a_shell_where_it_is_one_string() -> None:
    shell = Healthcheck(test=("CMD-SHELL", "test -e /f"))
    assert shell.command == ("/bin/sh", "-c", "test -e /f")
    assert check().command == ("probe",)
