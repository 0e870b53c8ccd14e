"""The production suite: what is good passes, damage is found, what is unread is no pass."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from ci.aws import session
from tests.unit.validation.production import good, names
from tests.unit.validation.production.breaking import Break, at, measured
from tests.unit.validation.production.operations import ALARMS, BREAKS
from tests.unit.validation.production.wire import (
    DENIED,
    EMPTY,
    ENDLESS,
    THROTTLED,
    TIMEOUT,
    Account,
    pages,
)
from validation import Report, Status, Verdict, runner
from validation.model import Check, CheckContext
from validation.production import CHECKS, COMPLIANCE
from validation.runner import run_checks

#: Answers that are empty if all is well, or of which a check needs another part only.
TASKS = ("ecs.ListTasks", "ecs.DescribeTasks")
MAY_BE_EMPTY = {
    ("iam.access-analyzer", "accessanalyzer.ValidatePolicy"),
    *(
        (check.id, call)
        for check in CHECKS
        for call in TASKS
        if check.id not in ("availability.zones", "network.private-subnets")
    ),
}
BY_ID = {check.id: check for check in CHECKS}


async def looked(account: Account, *checks: Check, context: CheckContext | None = None) -> Report:
    """Run checks on an account."""
    with account.current():
        return await run_checks(
            "production", checks, context or good.context(), account=names.NUMBER
        )


async def test_a_good_environment_passes_every_check_twenty_times_of_twenty() -> None:
    for _ in range(20):
        report = await looked(good.account(), *CHECKS)
        assert {result.status for result in report.results} == {Status.PASS}, report.text()


async def test_nothing_is_read_twice_and_nothing_once_for_each_of_many() -> None:
    account = good.account()
    await looked(account, *CHECKS)
    calls = Counter(account.calls)
    # Of these AWS has one call for each resource: of agents, of tables, of different policies.
    each = {
        "ecs.DescribeTaskDefinition": 10,  # of this release, and of the previous one
        "ecr.DescribeImages": 5,
        "elbv2.DescribeTargetHealth": 5,
        "iam.SimulatePrincipalPolicy": 5,
        "accessanalyzer.ValidatePolicy": 5,
        "dynamodb.DescribeTable": 2,
        "dynamodb.DescribeContinuousBackups": 2,
        "kms.DescribeKey": 2,  # by its ARN, and by its alias
        "kms.GetKeyRotationStatus": 2,
        "iam.GetAccountAuthorizationDetails": 2,  # roles, and customer-managed policies
        "ec2.DescribeRouteTables": 2,
    }
    assert {name: number for name, number in calls.items() if number > 1} == each
    assert sum(calls.values()) <= 75


@pytest.mark.parametrize("case", BREAKS, ids=lambda case: f"{case.check}: {case.what}")
async def test_each_damage_is_found_and_its_repair_passes(case: Break) -> None:
    check = BY_ID[case.check]
    account = good.account()
    case.damage(account)
    network = names.CONFIG.environment("production").network
    context = good.context(network=replace(network, **case.settings))
    (result,) = (await looked(account, check, context=context)).results
    assert result.status is Status.FAIL, result.finding
    assert case.observed in result.finding.observed
    assert result.finding.expected
    assert any(item.read for item in result.finding.evidence), "a failure says what was read"
    (repaired,) = (await looked(good.account(), check)).results
    assert repaired.status is Status.PASS


def test_every_check_is_shown_to_fail() -> None:
    assert {case.check for case in BREAKS} == BY_ID.keys()


async def calls_of(check: Check) -> list[str]:
    """Return the operations that a check calls."""
    account = good.account()
    await looked(account, check)
    return sorted(set(account.calls))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
@pytest.mark.parametrize("fault", [DENIED, THROTTLED, TIMEOUT, ENDLESS])
async def test_what_cannot_be_read_is_not_examined(
    check: Check, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "MAX_PAGES", 5)  # so that the test is quick,
    monkeypatch.setattr(runner, "PAUSE", 20.0)  # as with fewer attempts
    (result,) = (await looked(replace(good.account(), faults={"*": fault}), check)).results
    assert result.status is Status.NOT_EXAMINED
    # A part of the API is down: each call alone.
    for call in await calls_of(check):
        if fault == ENDLESS and not pages(call):
            continue
        (result,) = (await looked(replace(good.account(), faults={call: fault}), check)).results
        assert result.status is Status.NOT_EXAMINED, (call, result.finding)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
async def test_an_empty_page_is_no_pass(check: Check) -> None:
    (result,) = (await looked(replace(good.account(), faults={"*": EMPTY}), check)).results
    assert result.status is Status.NOT_EXAMINED
    for call in await calls_of(check):
        listing = any(
            isinstance(value, list)
            for name, answer in good.account().answers.items()
            if name.partition(" ")[0] == call
            for value in answer.values()
        )
        if not listing or (check.id, call) in MAY_BE_EMPTY:
            continue
        (result,) = (await looked(replace(good.account(), faults={call: EMPTY}), check)).results
        assert result.status in (Status.NOT_EXAMINED, Status.FAIL), (call, result.finding)


async def test_a_missing_permission_is_named() -> None:
    account = replace(good.account(), faults={"cloudwatch.DescribeAlarms": DENIED})
    (result,) = (await looked(account, BY_ID["monitoring.alarms"])).results
    assert result.finding.hint == "missing permission: cloudwatch:DescribeAlarms"


@pytest.mark.parametrize(
    ("figure", "check"),
    [
        ("cpu", "performance.cpu"),
        ("memory", "performance.memory"),
        ("latency", "performance.latency"),
        ("requests", "performance.errors"),
    ],
)
async def test_no_data_is_not_examined(figure: str, check: str) -> None:
    account = good.account()
    measured(figure)(account)
    (result,) = (await looked(account, BY_ID[check])).results
    assert result.status is Status.NOT_EXAMINED
    assert f"no data of {sorted(names.AGENTS)[0]}" in result.finding.observed
    assert account.calls.count("cloudwatch.GetMetricData") > 1, "new tasks have figures later"


async def test_no_errors_among_requests_are_none() -> None:
    account = good.account()
    measured("errors")(account)
    (result,) = (await looked(account, BY_ID["performance.errors"])).results
    assert result.status is Status.PASS


async def test_alarms_without_data_are_explained_or_not_examined() -> None:
    blind = at(ALARMS, "MetricAlarms", 3, StateValue="INSUFFICIENT_DATA")
    account = good.account()
    blind(account)
    check = BY_ID["monitoring.alarms"]
    (result,) = (await looked(account, check)).results
    assert result.status is Status.NOT_EXAMINED
    assert "1 of 25 alarms have no data: their metric is not written" in result.finding.observed
    at(ALARMS, "MetricAlarms", 3, AlarmConfigurationUpdatedTimestamp=names.now())(account)
    (result,) = (await looked(account, check)).results
    assert result.status is Status.PASS
    assert "is new and has no data yet" in result.finding.warnings[0]


ONE_TASK: dict[str, Any] = {"name": "staging", "desired_count": 1, "agents": {}}


@pytest.mark.parametrize(
    ("check", "changes", "why"),
    [
        ("availability.desired", ONE_TASK, "acso.toml wants one task of each agent in staging"),
        ("availability.zones", ONE_TASK, "acso.toml wants one task of each agent in staging"),
        ("availability.scaling", {"agents": {}}, "acso.toml scales no agent in production"),
        ("network.tls", {"domain": None}, "it has no domain"),
        ("network.certificate", {"tls": "none"}, 'acso.toml says tls = "none"'),
    ],
)
async def test_a_check_that_does_not_apply_says_by_which_rule(
    check: str, changes: dict[str, Any], why: str
) -> None:
    context = good.context(**changes)
    (result,) = (await looked(good.account(), BY_ID[check], context=context)).results
    assert result.status is Status.SKIP
    assert result.finding.observed == why


async def test_the_first_release_has_none_before_it() -> None:
    account = good.account()
    del account["dynamodb.Query"]["Items"][0]
    (result,) = (await looked(account, BY_ID["recovery.previous"])).results
    assert result.status is Status.SKIP


async def test_compliance_is_the_checks_with_control_ids() -> None:
    assert COMPLIANCE
    assert all(check.controls for check in COMPLIANCE)
    report = await looked(good.account(), *COMPLIANCE)
    assert report.verdict is Verdict.PASSED
