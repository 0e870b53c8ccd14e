"""Suites run to their end, whatever their checks do; ERROR is never as good as a pass."""

import json
from pathlib import Path

import anyio
import pytest

from ci.errors import AwsError, UsageError
from tests.unit.release.conftest import CONFIG, ENV, context
from tests.unit.release.fakes.world import World
from validation import Check, CheckContext, Finding, Report, Result, Status, run, run_checks
from validation.__main__ import main, write

SUBJECT = CheckContext(aws=context(World()).aws, config=CONFIG, env=ENV, url="http://balancer")


def finding(status: Status) -> Finding:
    return Finding(status=status, observed="this", expected="that", hint="do it")


def check(name: str, status: Status = Status.PASS, *, takes: float = 0, limit: float = 30) -> Check:
    async def run(_: CheckContext) -> Finding:
        await anyio.sleep(takes)
        return finding(status)

    return Check(name=name, sentence=f"{name} is well", run=run, seconds=limit)


def raising(error: Exception) -> Check:
    async def run(_: CheckContext) -> Finding:
        raise error

    return Check(name="raising", sentence="it raises", run=run)


def report(*statuses: Status) -> Report:
    results = tuple(
        Result(check=str(n), sentence=f"check {n}", finding=finding(status), seconds=1)
        for n, status in enumerate(statuses)
    )
    return Report(suite="smoke", environment="staging", results=results, seconds=1)


async def test_checks_run_in_parallel_and_are_returned_in_order() -> None:
    began = anyio.current_time()
    found = await run_checks("test", [check("a", takes=9), check("b", takes=8)], SUBJECT)
    assert [result.check for result in found.results] == ["a", "b"]
    assert anyio.current_time() - began == pytest.approx(9)
    assert found.results[1].seconds == pytest.approx(8)


async def test_a_check_that_hangs_is_an_error_and_does_not_stop_others() -> None:
    found = await run_checks("test", [check("a", takes=99, limit=5), check("b")], SUBJECT)
    assert [result.status for result in found.results] == [Status.ERROR, Status.PASS]
    assert found.results[0].finding.observed == "no result within 5 s"
    assert not found.ok


@pytest.mark.parametrize(
    ("error", "observed", "hint"),
    [
        (AwsError("denied", hint="missing permission: it"), "denied", "missing permission: it"),
        (KeyError("body"), "the check itself failed: KeyError: 'body'", ""),
        (ExceptionGroup("", [ExceptionGroup("", [AwsError("no", hint="h")])]), "no", "h"),
    ],
)
async def test_a_check_that_raises_is_an_error(error: Exception, observed: str, hint: str) -> None:
    (found,) = (await run_checks("test", [raising(error)], SUBJECT)).results
    assert found.status is Status.ERROR
    assert (found.finding.observed, found.finding.hint) == (observed, hint)


@pytest.mark.parametrize(("action", "attempts"), [("", 3), ("ecs:DescribeServices", 1)])
async def test_a_check_that_got_no_answer_is_repeated_within_its_time(
    action: str, attempts: int
) -> None:
    made: list[int] = []

    async def run(_: CheckContext) -> Finding:
        made.append(1)
        if len(made) < 3:
            raise AwsError("ecs: no", action=action)
        return finding(Status.PASS)

    check = Check(name="c", sentence="c", run=run, seconds=30)
    (found,) = (await run_checks("test", [check], SUBJECT)).results
    assert found.status is (Status.ERROR if action else Status.PASS)
    assert len(made) == attempts


async def test_an_unknown_suite_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="unknown suite 'smok'") as raised:
        await run("smok", SUBJECT)
    assert raised.value.hint == "known: smoke"


@pytest.mark.parametrize(
    ("statuses", "ok"),
    [
        ((Status.PASS, Status.PASS), True),
        ((Status.PASS, Status.SKIP), True),
        ((Status.PASS, Status.FAIL), False),
        ((Status.PASS, Status.ERROR), False),
        ((Status.SKIP,), False),
        ((), False),
    ],
)
def test_only_passes_make_a_success(statuses: tuple[Status, ...], ok: bool) -> None:
    assert report(*statuses).ok is ok


def test_a_report_shows_what_was_expected_for_failures() -> None:
    text = report(Status.PASS, Status.FAIL).text()
    assert "PASS   check 0  this" in text
    assert "FAIL   check 1  this; expected: that\n" in text
    assert text.endswith("\n  hint: do it\n1 of 2 smoke checks passed")
    assert len(text.splitlines()) == 5
    both = report(Status.FAIL, Status.PASS, Status.ERROR).summary()
    assert both == "1 of 3 smoke checks passed\n  check 0: this\n  check 2: this"


def test_results_are_written_atomically(tmp_path: Path) -> None:
    path = tmp_path / "made" / "results.json"
    write(path, report(Status.PASS))
    write(path, report(Status.FAIL))
    data = json.loads(path.read_text())
    assert data["ok"] is False
    assert data["results"][0]["status"] == "FAIL"
    assert [item.name for item in path.parent.iterdir()] == ["results.json"]


def test_a_wrong_environment_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["smoke", "--environment", "prodution"], {}) == 2
    assert "did you mean 'production'?" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["smoke"], ["smok", "--environment", "staging"]])
def test_wrong_arguments_are_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments, {})
    assert ended.value.code == 2


def test_an_environment_without_an_account_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["smoke", "--environment", "staging"], {}) == 1
    assert "no account in acso.toml" in capsys.readouterr().err
