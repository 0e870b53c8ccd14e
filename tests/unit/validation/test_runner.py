"""Suites run to their end, whatever their checks do; what was not examined is never a pass."""

import dataclasses
import datetime
from collections.abc import Mapping

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.aws.session import EMBEDDED_ACCOUNT
from ci.chaos import EXPERIMENTS
from ci.config import Accepted
from ci.errors import AwsError, UsageError
from tests.unit.release.conftest import CONFIG, ENV, context
from tests.unit.release.fakes.world import World
from tests.unit.validation.conftest import AWS_ACCOUNT, check, finding, report
from validation import (
    Check,
    CheckContext,
    Evidence,
    Finding,
    Report,
    Result,
    Status,
    Verdict,
    embedded,
    exceptions,
    run,
    run_checks,
)
from validation.model import passed
from validation.report import joined
from validation.suites import known_checks

SUBJECT = CheckContext(aws=context(World()).aws, config=CONFIG, env=ENV, url="http://balancer")
READ = Evidence("things", 1, 1)


def raising(error: Exception) -> Check:
    async def raises(_: CheckContext) -> Finding:
        raise error

    return check("raising", run=raises)


async def one(
    checked: Check, account: str = AWS_ACCOUNT, subject: CheckContext = SUBJECT
) -> Result:
    return (await run_checks("test", [checked], subject, account)).results[0]


def excepted(**settings: str) -> CheckContext:
    given = {"accepts": "FAIL", "owner": "me", "reason": "known", "expires": "2099-01-01"}
    accepted = Accepted(**(given | settings))
    env = dataclasses.replace(ENV, exceptions={"test.a": accepted})
    return dataclasses.replace(SUBJECT, env=env)


async def test_checks_run_in_parallel_and_are_returned_in_order() -> None:
    began = anyio.current_time()
    found = await run_checks("test", [check("a", takes=9), check("b", takes=8)], SUBJECT)
    assert [result.check.id for result in found.results] == ["test.a", "test.b"]
    assert anyio.current_time() - began == pytest.approx(9)
    assert found.results[1].seconds == pytest.approx(8)


async def test_a_check_that_hangs_is_not_examined_and_does_not_stop_others() -> None:
    found = await run_checks("test", [check("a", takes=99, limit=5), check("b")], SUBJECT)
    assert [result.status for result in found.results] == [Status.NOT_EXAMINED, Status.PASS]
    assert found.results[0].finding.observed == "no result within 5 s"
    assert found.verdict is Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("error", "observed", "hint"),
    [
        (AwsError("denied", hint="missing permission: it"), "denied", "missing permission: it"),
        (KeyError("body"), "the check itself failed: KeyError: 'body'", ""),
        (ExceptionGroup("", [ExceptionGroup("", [AwsError("no", hint="h")])]), "no", "h"),
    ],
)
async def test_a_check_that_raises_is_not_examined(
    error: Exception, observed: str, hint: str
) -> None:
    found = await one(raising(error))
    assert found.status is Status.NOT_EXAMINED
    assert found.blocks
    assert (found.finding.observed, found.finding.hint) == (observed, hint)


@pytest.mark.parametrize(("action", "attempts"), [("", 3), ("ecs:DescribeServices", 1)])
async def test_a_check_that_got_no_answer_is_repeated_within_its_time(
    action: str, attempts: int
) -> None:
    made: list[int] = []

    async def asks(_: CheckContext) -> Finding:
        made.append(1)
        if len(made) < 3:
            raise AwsError("ecs: no", action=action)
        return finding(Status.PASS)

    found = await one(check("c", run=asks))
    assert found.status is (Status.NOT_EXAMINED if action else Status.PASS)
    assert len(made) == found.attempts == attempts


@pytest.mark.parametrize(("patience", "status", "attempts"), [(5, "PASS", 3), (1.5, "FAIL", 2)])
async def test_a_failure_is_looked_at_again_within_the_checks_patience(
    patience: float, status: str, attempts: int
) -> None:
    made: list[int] = []

    async def heals(_: CheckContext) -> Finding:
        made.append(1)
        return finding(Status.FAIL if len(made) < 3 else Status.PASS)

    found = await one(dataclasses.replace(check("c", run=heals), patience=patience))
    assert (found.status, found.attempts) == (status, attempts)


@pytest.mark.parametrize(
    "evidence", [(), (Evidence("services", 0, 0),), (READ, Evidence("services", 4, 5))]
)
async def test_a_pass_without_evidence_is_not_examined(evidence: tuple[Evidence, ...]) -> None:
    async def claims(_: CheckContext) -> Finding:
        return passed("all is well", "that", *evidence)

    found = await one(check("c", run=claims))
    assert found.status is Status.NOT_EXAMINED
    if len(evidence) == 2:
        assert found.finding.observed == "read 4 of 5 services"


async def test_a_check_that_does_not_apply_is_skipped_and_never_run() -> None:
    skipped = dataclasses.replace(raising(KeyError()), applies=lambda _: "no listener in test")
    found = await one(skipped)
    assert (found.status, found.attempts) == (Status.SKIP, 0)
    assert found.finding.observed == "no listener in test"


async def test_what_several_checks_read_is_read_once_and_again_at_the_next_attempt() -> None:
    read: list[str] = []

    def reading(name: str, passes_at: int) -> Check:
        looked: list[int] = []

        async def reads(subject: CheckContext) -> Finding:
            async def ask() -> int:
                read.append(name)
                await anyio.sleep(0.5)
                return len(read)

            looked.append(await subject.reads.get("services", ask))
            return finding(Status.PASS if len(looked) == passes_at else Status.FAIL)

        return dataclasses.replace(check(name, run=reads), patience=9)

    subject = dataclasses.replace(SUBJECT, reads=type(SUBJECT.reads)())
    found = await run_checks("test", [reading("a", 1), reading("b", 1), reading("c", 2)], subject)
    assert found.verdict is Verdict.PASSED
    assert len(read) == subject.reads.asked == 2


async def test_an_error_of_a_read_is_every_readers_error() -> None:
    asked: list[int] = []

    async def denied() -> int:
        asked.append(1)
        raise AwsError("denied", action="ecs:DescribeServices")

    async def reads(subject: CheckContext) -> Finding:
        await subject.reads.get("services", denied)
        return finding(Status.PASS)

    subject = dataclasses.replace(SUBJECT, reads=type(SUBJECT.reads)())
    found = await run_checks("test", [check("a", run=reads), check("b", run=reads)], subject)
    assert {result.status for result in found.results} == {Status.NOT_EXAMINED}
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("settings", "status", "verdict"),
    [
        ({}, Status.FAIL, Verdict.PASSED),
        ({}, Status.NOT_EXAMINED, Verdict.UNDECIDED),
        ({"accepts": "NOT_EXAMINED"}, Status.NOT_EXAMINED, Verdict.PASSED),
        ({"accepts": "NOT_EXAMINED"}, Status.FAIL, Verdict.FAILED),
        ({"expires": "2020-01-01"}, Status.FAIL, Verdict.FAILED),
    ],
)
async def test_an_exception_accepts_one_outcome_until_its_last_day(
    settings: Mapping[str, str], status: Status, verdict: Verdict
) -> None:
    checks = [check("a", status), check("b")]
    found = await run_checks("test", checks, excepted(**settings), AWS_ACCOUNT)
    assert found.verdict is verdict
    late = "expires" in settings
    assert found.results[0].finding.warnings == (
        ("its exception (known; me) expired on 2020-01-01",) if late else ()
    )
    assert ("accepted" in found.counted()) is (verdict is Verdict.PASSED)


async def test_an_exception_counts_on_its_last_day_and_not_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subject = excepted(expires="2026-11-26")
    for day, blocks in ((26, False), (27, True)):
        date = datetime.date(2026, 11, day)
        monkeypatch.setattr(exceptions, "today", lambda date=date: date)
        assert (await one(check("a", Status.FAIL), subject=subject)).blocks is blocks


async def test_what_the_embedded_aws_has_not_blocks_there_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exceptions, "NOT_THERE", {"test.a": "no such service"})
    unread, failed = check("a", Status.NOT_EXAMINED), check("a", Status.FAIL)
    assert not (await one(unread, EMBEDDED_ACCOUNT)).blocks
    assert (await one(unread, AWS_ACCOUNT)).blocks
    assert (await one(failed, EMBEDDED_ACCOUNT)).blocks


def test_the_list_of_what_the_embedded_aws_has_not_grows_on_purpose_only() -> None:
    assert len(embedded.NOT_THERE) == 5
    experiments = {f"chaos.{name}" for name in EXPERIMENTS}
    assert embedded.NOT_THERE.keys() <= known_checks().keys() | experiments


async def test_an_unknown_suite_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="unknown suite 'smok'") as raised:
        await run(["smok"], SUBJECT)
    assert raised.value.hint == "did you mean 'smoke'?"


async def test_an_exception_for_an_unknown_check_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match=r"exceptions: there is no check 'test\.a'"):
        await run(["smoke"], excepted())


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        ((Status.PASS, Status.PASS), Verdict.PASSED),
        ((Status.PASS, Status.SKIP), Verdict.PASSED),
        ((Status.PASS, Status.FAIL), Verdict.FAILED),
        ((Status.PASS, Status.NOT_EXAMINED), Verdict.UNDECIDED),
        ((Status.NOT_EXAMINED, Status.FAIL), Verdict.FAILED),
        ((Status.SKIP,), Verdict.FAILED),
        ((), Verdict.FAILED),
    ],
)
def test_only_passes_make_a_success(statuses: tuple[Status, ...], verdict: Verdict) -> None:
    assert report(*statuses).verdict is verdict
    assert report(*statuses).ok is (verdict is Verdict.PASSED)


@given(st.lists(st.sampled_from(Status), max_size=6), st.sampled_from(Status))
def test_one_more_result_that_is_no_pass_never_makes_a_verdict_better(
    statuses: list[Status], more: Status
) -> None:
    order = [Verdict.FAILED, Verdict.UNDECIDED, Verdict.PASSED]
    if more is not Status.PASS and statuses:
        before, after = report(*statuses).verdict, report(*statuses, more).verdict
        better = order.index(after) > order.index(before)
        # A suite of nothing but skips has failed; to find out less than that is no improvement.
        assert not better or (before is Verdict.FAILED and Status.FAIL not in statuses)


def test_a_report_shows_what_was_expected_and_failures_last() -> None:
    text = report(Status.FAIL, Status.PASS).text()
    assert "PASS          check 1  this\n" in text
    assert "FAIL          check 0  this; expected: that\n" in text
    assert text.index("check 1") < text.index("check 0")
    assert text.endswith("\n  hint: do it\n1 of 2 smoke checks passed")
    both = report(Status.NOT_EXAMINED, Status.PASS, Status.FAIL).summary()
    assert both == (
        "1 of 3 smoke checks passed, 1 not examined\n  check 2: this\n  not examined: check 0: this"
    )


def test_reports_of_several_suites_are_one() -> None:
    both: Report = joined([report(Status.PASS), report(Status.FAIL)])
    assert both.suite == "smoke+smoke"
    assert len(both.results) == 2
    assert both.verdict is Verdict.FAILED
