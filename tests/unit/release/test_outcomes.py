"""Every end that a command of a release can have: what it is called, its exit code, its message.

Each row is a whole command against an AWS in memory, told by what happens in it.
"""

from dataclasses import dataclass

import pytest

from ci.errors import AcsoError
from ci.release import OnCancel, OutcomeKind
from ci.release.outcome import outcome_kind
from ci.release.records import lock
from ci.release.records.table import history
from ci.release.rollout.verdict import FailureCause
from tests.unit.release.conftest import COUNT, Pipeline, all_of, versions
from tests.unit.release.fakes.acts import (
    HUNTER,
    Act,
    StopAt,
    account,
    back_by_hand,
    broken_by_itself,
    delete_service,
    deploy,
    forget_failures,
    locked,
    lose_service,
    lost_lease,
    meanwhile,
    never_starts_again,
    nothing_before,
    refusing,
    replace_service,
    stopped,
    switch_off,
    target_gone,
    within,
    without_table,
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What happens, and how it must end; `runs` is the version of every agent afterwards."""

    act: Act
    code: int
    said: str
    kind: OutcomeKind | None = None
    runs: str | None = "good"
    first: bool = False


CRASHED = "threat-hunter does not stay up (revision 2, 1 stopped task)"
ROWS: dict[str, Row] = {
    "completed": Row(
        act=deploy(),
        code=0,
        kind=OutcomeKind.DEPLOYED,
        said=f"{COUNT} of {COUNT} services rolled",
        runs="good-2",
    ),
    "nothing to do": Row(
        act=deploy("good"), code=0, kind=OutcomeKind.NOTHING_TO_DO, said="nothing changed"
    ),
    "slow start": Row(
        act=deploy("slow"), code=0, kind=OutcomeKind.DEPLOYED, said="is live", runs="slow"
    ),
    "crash at start": Row(
        act=deploy(threat_hunter="crash"), code=40, kind=OutcomeKind.ROLLED_BACK, said=CRASHED
    ),
    "crash after 20 s": Row(
        act=within(deploy(threat_hunter="late"), bake_time=30),
        code=40,
        kind=OutcomeKind.ROLLED_BACK,
        said=CRASHED,
    ),
    "cannot pull": Row(
        act=deploy(threat_hunter="pull"),
        code=40,
        kind=OutcomeKind.ROLLED_BACK,
        said="CannotPullContainerError",
    ),
    "never healthy": Row(
        act=deploy(threat_hunter="sick"),
        code=40,
        kind=OutcomeKind.ROLLED_BACK,
        said="not healthy 30 s after it started",
    ),
    "wrong version": Row(
        act=deploy(threat_hunter="liar"),
        code=40,
        kind=OutcomeKind.ROLLED_BACK,
        said="not version liar",
    ),
    "out of memory": Row(
        act=deploy(threat_hunter="oom"),
        code=40,
        kind=OutcomeKind.ROLLED_BACK,
        said="exit code 137: out of memory",
    ),
    "partial failure in wave 2": Row(
        act=deploy(supervisor="crash"),
        code=40,
        kind=OutcomeKind.ROLLED_BACK,
        said=f"all {COUNT} services are back on release 2026.11.24-1 (validated)",
    ),
    "validation failed": Row(
        act=deploy(valid=False), code=40, kind=OutcomeKind.ROLLED_BACK, said="validation failed"
    ),
    "first deploy failed": Row(
        act=deploy(threat_hunter="crash"),
        code=40,
        kind=OutcomeKind.REMOVED,
        said="the services that this first release created are removed",
        runs=None,
        first=True,
    ),
    "rolled back by ECS": Row(
        act=within(deploy(threat_hunter="crash"), failure_threshold=9),
        code=43,
        kind=OutcomeKind.ROLLED_BACK_BY_ECS,
        said="ECS rolled the deployment back to revision 1: circuit breaker",
    ),
    "rolled back by ECS and forgotten": Row(
        act=meanwhile(
            within(deploy(threat_hunter="crash"), failure_threshold=9), 0, forget_failures
        ),
        code=43,
        kind=OutcomeKind.ROLLED_BACK_BY_ECS,
        said="rolled the deployment back to revision 1: tasks failed to start",
    ),
    "replaced by another deploy": Row(
        act=meanwhile(deploy(), 0.8, replace_service),
        code=44,
        kind=OutcomeKind.REPLACED,
        said="another deployment (revision 3) replaced this one",
    ),
    "service deleted meanwhile (INACTIVE)": Row(
        act=meanwhile(deploy(), 0.8, delete_service),
        code=44,
        kind=OutcomeKind.REPLACED,
        said="the service is gone (INACTIVE)",
    ),
    "service missing meanwhile": Row(
        act=meanwhile(deploy(), 0.8, lose_service),
        code=44,
        kind=OutcomeKind.REPLACED,
        said="the service is gone (missing)",
    ),
    "desired 0 meanwhile": Row(
        act=meanwhile(deploy(), 0.8, switch_off),
        code=44,
        kind=OutcomeKind.REPLACED,
        said="set the service's desired count to 0",
    ),
    "desired 0 while baking": Row(
        act=meanwhile(within(deploy(), bake_time=30), 20, switch_off),
        code=44,
        kind=OutcomeKind.REPLACED,
        said="set the service's desired count to 0",
    ),
    "timed out": Row(
        act=within(deploy(threat_hunter="stuck"), deploy_timeout=20),
        code=45,
        kind=OutcomeKind.TIMED_OUT,
        said="not done after 20 s: 1 tasks desired, provisioning",
    ),
    "nothing to change but unhealthy": Row(
        act=broken_by_itself,
        code=46,
        kind=OutcomeKind.UNHEALTHY,
        said="nothing was changed",
        runs=None,
    ),
    "throttled API": Row(
        act=meanwhile(deploy(), 0.8, refusing("update_service", "ThrottlingException")),
        code=41,
        kind=OutcomeKind.ROLLBACK_FAILED,
        said="ThrottlingException",
        runs=None,
    ),
    "throttled before anything began": Row(
        act=meanwhile(deploy(), 0, refusing("describe_services", "ThrottlingException")),
        code=20,
        said="ThrottlingException",
    ),
    "expired credentials in the middle": Row(
        act=meanwhile(deploy(), 1, refusing("list_tasks", "ExpiredTokenException")),
        code=41,
        kind=OutcomeKind.ROLLBACK_FAILED,
        said="ExpiredTokenException",
        runs=None,
    ),
    "table missing": Row(act=without_table, code=20, said="ResourceNotFoundException"),
    "lock held": Row(
        act=locked(host="elsewhere", renewed=True), code=23, said="staging is locked by ann"
    ),
    "lock stale": Row(
        act=locked(host="elsewhere", renewed=False),
        code=0,
        kind=OutcomeKind.DEPLOYED,
        said="is live",
        runs="good-2",
    ),
    "lock lost": Row(act=lost_lease, code=23, said="took over the lock of staging", runs="good-2"),
    "rollback": Row(
        act=back_by_hand,
        code=0,
        kind=OutcomeKind.RESTORED,
        said="staging is back on release 2026.11.24-1",
    ),
    "rollback target gone": Row(
        act=target_gone,
        code=48,
        said=f"cannot roll back to release 2026.11.24-1: {HUNTER}:1 is deregistered",
        runs="good-2",
    ),
    "nothing to roll back to": Row(act=nothing_before, code=42, said="no validated release"),
    "rollback fails too": Row(
        act=never_starts_again,
        code=41,
        kind=OutcomeKind.ROLLBACK_FAILED,
        said="the rollback failed too",
        runs=None,
    ),
    "cancelled before update": Row(
        act=stopped(deploy(), 0.02), code=130, said="interrupted before anything was changed"
    ),
    "cancelled while nothing is to be done": Row(
        act=stopped(deploy("good"), 0.1), code=130, said="interrupted before anything was changed"
    ),
    "cancelled during update": Row(
        act=stopped(deploy(), 0.8),
        code=130,
        kind=OutcomeKind.INTERRUPTED,
        said="release 2026.11.24-2 is recorded as interrupted",
        runs=None,
    ),
    "cancelled after update": Row(
        act=stopped(within(deploy(), bake_time=30), 20),
        code=130,
        kind=OutcomeKind.INTERRUPTED,
        said="the user stopped it",
        runs="good-2",
    ),
    "cancelled twice": Row(
        act=stopped(deploy(), 0.8, again=True),
        code=47,
        kind=OutcomeKind.WITHDRAWN,
        said=f"all {COUNT} services are back on release 2026.11.24-1 (validated)",
    ),
    "cancelled with --on-cancel rollback": Row(
        act=stopped(deploy(), 0.8, on_cancel=OnCancel.ROLLBACK),
        code=47,
        kind=OutcomeKind.WITHDRAWN,
        said="the user stopped it",
    ),
    "cancelled on the way back": Row(
        act=stopped(deploy(threat_hunter="crash"), 3.0),
        code=40,
        kind=OutcomeKind.ROLLED_BACK,
        said=CRASHED,
    ),
    "cancelled first deploy, undone": Row(
        act=stopped(deploy(), 0.8, again=True),
        code=47,
        kind=OutcomeKind.WITHDRAWN,
        said="the services that this first release created are removed",
        runs="",
        first=True,
    ),
    "region wrong": Row(
        act=account(region="eu-north-1"), code=21, said="region eu-north-1 is not us-east-1"
    ),
    "account wrong": Row(
        act=account(number="222222222222"), code=21, said="account 222222222222, but staging is 1"
    ),
}


@pytest.mark.parametrize("case", ROWS)
async def test_every_outcome_has_its_kind_exit_code_and_message(
    pipeline: Pipeline, case: str
) -> None:
    row = ROWS[case]
    if not row.first:
        await pipeline.deploy("good")
    outcome, code, text = None, 0, ""
    try:
        outcome = await row.act(pipeline)
        assert outcome is not None
        text = outcome.text()
        outcome.raise_for_failure()
    except AcsoError as error:
        code, text = error.exit_code, str(error)
    except ExceptionGroup as group:
        (inner,) = group.exceptions
        assert isinstance(inner, AcsoError)
        code, text = inner.exit_code, str(inner)
    assert (code, outcome and outcome.kind) == (row.code, row.kind), text
    assert row.said in text
    if row.runs is not None:
        assert versions(pipeline.world) == (all_of(row.runs) if row.runs else {})


def test_the_table_has_every_outcome_but_those_with_tests_of_their_own() -> None:
    others = {
        OutcomeKind.UNDONE,  # after a killed first deploy
        OutcomeKind.NOT_EXAMINED,  # behind an internal load balancer
        OutcomeKind.UNCHECKED,
    }
    assert {row.kind for row in ROWS.values()} - {None} == set(OutcomeKind) - others
    assert len(ROWS) >= 25


async def test_an_interrupted_release_is_resumed_by_the_next_deploy(
    pipeline: Pipeline,
) -> None:
    await pipeline.deploy("good")
    await pipeline.behaving(stop=StopAt(0.8)).deploy("good-2")
    assert await lock.current(pipeline.context) is None
    outcome = await pipeline.deploy("good-2")
    assert outcome.kind is OutcomeKind.DEPLOYED
    assert "2026.11.24-2 stopped while interrupted" in outcome.notes[0]
    assert not (await history(pipeline.context)).unfinished


async def test_a_failed_restore_of_one_service_does_not_prevent_the_others(
    pipeline: Pipeline,
) -> None:
    await pipeline.deploy("good")
    first = next(arn for arn in pipeline.world.definitions if f"/{HUNTER}:" in arn)
    pipeline.world.deregister_task_definition(first)
    outcome = await pipeline.deploy("good-2", threat_hunter="crash")
    assert outcome.kind is OutcomeKind.ROLLBACK_FAILED
    assert "TaskDefinition is inactive" in outcome.way_back
    found = versions(pipeline.world)
    assert {found[agent] for agent in found if agent != "threat-hunter"} == {"good"}


@pytest.mark.parametrize(
    ("causes", "others", "kind"),
    [
        ([], {}, OutcomeKind.ROLLED_BACK),
        (
            [FailureCause.TIMEOUT, FailureCause.REPLACED, FailureCause.ECS, FailureCause.BROKEN],
            {},
            OutcomeKind.ROLLED_BACK,
        ),
        ([FailureCause.TIMEOUT, FailureCause.ECS], {}, OutcomeKind.ROLLED_BACK_BY_ECS),
        ([FailureCause.TIMEOUT, FailureCause.REPLACED], {}, OutcomeKind.REPLACED),
        ([FailureCause.TIMEOUT], {}, OutcomeKind.TIMED_OUT),
        ([FailureCause.NOT_EXAMINED], {}, OutcomeKind.NOT_EXAMINED),
        ([FailureCause.NOT_EXAMINED, FailureCause.BROKEN], {}, OutcomeKind.ROLLED_BACK),
        ([FailureCause.TIMEOUT], {"first": True}, OutcomeKind.REMOVED),
        ([], {"first": True, "stopped": True}, OutcomeKind.WITHDRAWN),
        ([FailureCause.ECS], {"stopped": True, "restored": False}, OutcomeKind.ROLLBACK_FAILED),
    ],
)
def test_the_most_important_cause_decides_the_outcome(
    causes: list[FailureCause], others: dict[str, bool], kind: OutcomeKind
) -> None:
    given = {"first": False, "stopped": False, "restored": True} | others
    assert outcome_kind(causes, **given) is kind
