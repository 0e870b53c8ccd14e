"""The judgement of one service: every case a row, and what holds for all of them."""

import dataclasses
import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.aws.ecs import Deployment, Service, Task
from ci.aws.elb import Answer, Target
from ci.release.model import ServiceRevision
from ci.release.rollout.verdict import (
    ANSWER_PATIENCE,
    SILENCE_PATIENCE,
    Expectation,
    FailureCause,
    Kind,
    Limits,
    Snapshot,
    evaluate,
)

NEW, OLD = "arn:family:8", "arn:family:7"
T0 = datetime.datetime(2026, 11, 24, 12, 0, 0, 500000, tzinfo=datetime.UTC)
LIMITS = Limits(failures=1, grace=30, timeout=600)
EXPECTATION = Expectation(
    agent="supervisor",
    service="acso-staging-supervisor",
    run=ServiceRevision(revision=NEW, version="v8", digest="sha256:8", desired=1),
    deployment="ecs-svc/8",
    since=T0,
)
BODY = {"agent": "supervisor", "version": "v8", "digest": "sha256:8", "status": "healthy"}


def deployment(number: int, *, status: str = "PRIMARY", state: str = "COMPLETED") -> Deployment:
    return Deployment(
        id=f"ecs-svc/{number}",
        status=status,
        revision=f"arn:family:{number}",
        desired=1,
        running=1,
        state=state,
        reason="tasks failed to start" if state == "FAILED" else "",
        created_at=T0,
    )


def task(number: int = 8, **changes: Any) -> Task:
    made = Task(
        id=f"task{number}",
        service=EXPECTATION.service,
        revision=f"arn:family:{number}",
        status="RUNNING",
        started_by=f"ecs-svc/{number}",
        created_at=T0 + datetime.timedelta(seconds=number - 7),
        address=f"10.0.0.{number}",
    )
    return dataclasses.replace(made, **changes)


def crashed(number: int = 8, **changes: Any) -> Task:
    ended = {"status": "STOPPED", "stop_code": "EssentialContainerExited", "exit_code": 1}
    return task(number, **ended | {"id": "dead", **changes})


def service(*deployments: Deployment, **changes: Any) -> Service:
    listed = deployments or (deployment(8),)
    made = Service(
        name=EXPECTATION.service,
        status="ACTIVE",
        revision=next(d.revision for d in listed if d.status == "PRIMARY"),
        desired=1,
        running=1,
        settings="{}",
        deployments=listed,
    )
    return dataclasses.replace(made, **changes)


HEALTHY = Snapshot(
    service=service(),
    tasks=(task(),),
    targets=(Target(address="10.0.0.8", state="healthy"),),
    answer=Answer(status=200, body=BODY),
    elapsed=5,
)


def snapshot(**changes: Any) -> Snapshot:
    return dataclasses.replace(HEALTHY, **changes)


def target(number: int, state: str) -> Target:
    return Target(address=f"10.0.0.{number}", state=state)


FAILED: dict[str, tuple[Snapshot, str]] = {
    "missing": (snapshot(service=None), "gone (missing)"),
    "deleted": (snapshot(service=service(status="INACTIVE")), "gone (INACTIVE)"),
    "draining": (snapshot(service=service(status="DRAINING")), "gone (DRAINING)"),
    "scaled to 0 by somebody": (
        snapshot(service=service(desired=0, running=0)),
        "desired count to 0",
    ),
    "given up by the circuit breaker": (
        snapshot(service=service(deployment(8, state="FAILED"))),
        "ECS marked the deployment as failed: tasks failed to start",
    ),
    "rolled back by ECS": (
        snapshot(
            service=service(deployment(7), deployment(8, status="ACTIVE", state="FAILED")),
        ),
        "ECS rolled the deployment back to revision 7: tasks failed to start",
    ),
    "rolled back by ECS and forgotten but for the event": (
        snapshot(
            service=service(
                deployment(7),
                events=(
                    "(service x) has reached a steady state.",
                    "(service x) (deployment ecs-svc/8) deployment failed: alarm detected.",
                ),
            )
        ),
        "ECS rolled the deployment back to revision 7: alarm detected",
    ),
    "replaced after another deployment failed": (
        snapshot(
            service=service(
                deployment(7),
                events=("(service x) (deployment ecs-svc/88) deployment failed: x.",),
            )
        ),
        "another deployment (revision 7) replaced this one",
    ),
    "stable with our deployment gone": (
        snapshot(service=service(deployment(7))),
        "another deployment (revision 7) replaced this one",
    ),
    "replaced by another deploy": (
        snapshot(service=service(deployment(9), deployment(8, status="ACTIVE"))),
        "another deployment (revision 9) replaced this one",
    ),
    "restarted by another with the same revision": (
        snapshot(service=service(dataclasses.replace(deployment(8), id="ecs-svc/99"))),
        "another deployment of the same revision",
    ),
    "crash at start": (
        snapshot(tasks=(crashed(),)),
        "does not stay up (revision 8, 1 stopped task)",
    ),
    "crash although its successor runs": (snapshot(tasks=(crashed(), task())), "does not stay up"),
    "crash told by revision and time alone": (
        snapshot(tasks=(crashed(started_by="acso-staging-supervisor"),)),
        "does not stay up",
    ),
    "crash within the second of the deployment": (
        snapshot(tasks=(crashed(started_by="x", created_at=T0.replace(microsecond=0)),)),
        "does not stay up",
    ),
    "cannot pull": (
        snapshot(
            tasks=(
                crashed(
                    stop_code="TaskFailedToStart",
                    stopped_reason="CannotPullContainerError: manifest unknown",
                ),
            )
        ),
        "does not stay up",
    ),
    "stopped for its target's health": (
        snapshot(
            tasks=(
                crashed(
                    stop_code="ServiceSchedulerInitiated",
                    stopped_reason="Task failed ELB health checks in (target-group x)",
                ),
            )
        ),
        "does not stay up",
    ),
    "container unhealthy": (
        snapshot(tasks=(task(health="UNHEALTHY"),)),
        "does not stay up (revision 8, 1 unhealthy task)",
    ),
    "target never healthy": (
        snapshot(targets=(target(8, "unhealthy"),), answer=None, ages={"task8": 31}),
        "not healthy 30 s after it started (revision 8, target unhealthy)",
    ),
    "wrong version": (
        snapshot(
            answer=Answer(status=200, body=BODY | {"version": "v7"}),
            wrong_for=ANSWER_PATIENCE + 1,
        ),
        "not version v8",
    ),
    "wrong digest": (
        snapshot(
            answer=Answer(status=200, body=BODY | {"digest": "sha256:7"}),
            wrong_for=ANSWER_PATIENCE + 1,
        ),
        "the load balancer answers",
    ),
    "no answer": (
        snapshot(
            answer=Answer(status=0, error="no answer: timed out"), wrong_for=SILENCE_PATIENCE + 1
        ),
        "no answer: timed out",
    ),
    "time over while starting": (
        snapshot(tasks=(task(status="PENDING"),), elapsed=601),
        "not done after 600 s: 1 tasks desired, pending",
    ),
    "time over, nothing placed": (
        snapshot(tasks=(), elapsed=601),
        "1 tasks desired, 0 running",
    ),
}
#: Causes other than the service's own fault.
CAUSES = {
    "missing": FailureCause.REPLACED,
    "deleted": FailureCause.REPLACED,
    "draining": FailureCause.REPLACED,
    "scaled to 0 by somebody": FailureCause.REPLACED,
    "rolled back by ECS": FailureCause.ECS,
    "rolled back by ECS and forgotten but for the event": FailureCause.ECS,
    "replaced after another deployment failed": FailureCause.REPLACED,
    "stable with our deployment gone": FailureCause.REPLACED,
    "replaced by another deploy": FailureCause.REPLACED,
    "restarted by another with the same revision": FailureCause.REPLACED,
    "time over while starting": FailureCause.TIMEOUT,
    "time over, nothing placed": FailureCause.TIMEOUT,
}
PENDING: dict[str, tuple[Snapshot, str]] = {
    "no task yet": (snapshot(tasks=()), "1 tasks desired, 0 running"),
    "task starts": (snapshot(tasks=(task(status="ACTIVATING"),)), "activating"),
    "only the old task runs": (snapshot(tasks=(task(7),)), "1 tasks desired, 0 running"),
    "targets not asked": (snapshot(targets=None, answer=None), "targets not checked"),
    "no target": (snapshot(targets=()), "none registered"),
    "target initial": (snapshot(targets=(target(8, "initial"),)), "initial"),
    "target unhealthy within its grace": (
        snapshot(targets=(target(8, "unhealthy"),), ages={"task8": 29}),
        "unhealthy",
    ),
    "old target still serves": (
        snapshot(targets=(target(8, "healthy"), target(7, "healthy"))),
        "1 old targets still serve",
    ),
    "not asked": (snapshot(answer=None), "health endpoint not checked yet"),
    "wrong version for a moment": (
        snapshot(answer=Answer(status=200, body=BODY | {"version": "v7"}), wrong_for=1),
        "answers HTTP 200",
    ),
    "no answer to this machine for a moment": (
        snapshot(
            answer=Answer(status=0, error="no answer: timed out"), wrong_for=SILENCE_PATIENCE - 1
        ),
        "no answer: timed out",
    ),
    "right body, wrong status": (
        snapshot(answer=Answer(status=503, body=BODY)),
        "answers HTTP 503",
    ),
    "rollout in progress": (
        snapshot(service=service(deployment(8, state="IN_PROGRESS"))),
        "completing",
    ),
    "old task stops": (snapshot(service=service(running=2)), "old tasks are stopping"),
    "an old task crashes": (
        snapshot(tasks=(crashed(7),), service=service(deployment(8, state="IN_PROGRESS"))),
        "1 tasks desired",
    ),
    "a task stopped by a person": (
        snapshot(tasks=(crashed(stop_code="UserInitiated"),)),
        "1 tasks desired",
    ),
    "scaled down": (
        snapshot(tasks=(crashed(stop_code="ServiceSchedulerInitiated"),)),
        "1 tasks desired",
    ),
}


@pytest.mark.parametrize("case", FAILED)
def test_a_failure_is_described(case: str) -> None:
    looked, text = FAILED[case]
    verdict = evaluate(EXPECTATION, looked, LIMITS)
    assert verdict.kind is Kind.FAILED, verdict
    assert text in verdict.text
    assert verdict.cause is CAUSES.get(case, FailureCause.BROKEN)


@pytest.mark.parametrize("case", PENDING)
def test_what_may_still_become_healthy_is_pending(case: str) -> None:
    looked, text = PENDING[case]
    verdict = evaluate(EXPECTATION, looked, LIMITS)
    assert verdict.kind is Kind.PENDING, verdict
    assert text in verdict.text


def test_every_sign_together_is_success() -> None:
    assert evaluate(EXPECTATION, HEALTHY, LIMITS).kind is Kind.HEALTHY


def test_draining_old_targets_are_ignored() -> None:
    looked = snapshot(targets=(target(8, "healthy"), target(7, "draining")))
    assert evaluate(EXPECTATION, looked, LIMITS).kind is Kind.HEALTHY


def test_a_service_with_zero_tasks_is_healthy_without_targets_and_answer() -> None:
    expectation = dataclasses.replace(
        EXPECTATION, run=dataclasses.replace(EXPECTATION.run, desired=0)
    )
    looked = snapshot(service=service(desired=0, running=0), tasks=(), targets=None, answer=None)
    assert evaluate(expectation, looked, LIMITS).kind is Kind.HEALTHY


def test_a_higher_threshold_allows_more_failures() -> None:
    looked = snapshot(tasks=(crashed(), task()))
    patient = dataclasses.replace(LIMITS, failures=2)
    assert evaluate(EXPECTATION, looked, LIMITS).kind is Kind.FAILED
    assert evaluate(EXPECTATION, looked, patient).kind is Kind.HEALTHY
    twice = snapshot(tasks=(crashed(), crashed(id="dead2"), task()))
    assert evaluate(EXPECTATION, twice, patient).kind is Kind.FAILED


def test_old_failures_of_an_unchanged_service_do_not_count() -> None:
    expectation = dataclasses.replace(EXPECTATION, deployment="", since=None)
    assert evaluate(expectation, snapshot(tasks=(crashed(), task())), LIMITS).kind is Kind.HEALTHY


@pytest.mark.parametrize("case", ["", "given up by the circuit breaker", "rolled back by ECS"])
def test_the_failing_tasks_come_with_the_verdict_also_if_ecs_was_first(case: str) -> None:
    seen = dataclasses.replace(FAILED[case][0] if case else HEALTHY, tasks=(crashed(), task()))
    assert [item.id for item in evaluate(EXPECTATION, seen, LIMITS).failed_tasks] == ["dead"]


STATES = st.sampled_from(["COMPLETED", "IN_PROGRESS", "FAILED", ""])
TASKS = st.lists(
    st.builds(
        task,
        st.sampled_from([7, 8, 9]),
        status=st.sampled_from(["PENDING", "RUNNING", "STOPPED"]),
        health=st.sampled_from(["HEALTHY", "UNHEALTHY", "UNKNOWN"]),
        stop_code=st.sampled_from(["", "EssentialContainerExited", "ServiceSchedulerInitiated"]),
    ),
    max_size=4,
).map(tuple)
TARGETS = st.none() | st.lists(
    st.builds(target, st.sampled_from([7, 8, 9]), st.sampled_from(["healthy", "unhealthy"])),
    max_size=3,
).map(tuple)
ANSWERS = st.none() | st.builds(
    Answer,
    status=st.sampled_from([0, 200, 500]),
    body=st.sampled_from([BODY, BODY | {"version": "v7"}, {}]),
)
SERVICES = st.none() | st.builds(
    lambda primary, state, running, status: service(
        deployment(primary, state=state), running=running, status=status
    ),
    st.sampled_from([7, 8]),
    STATES,
    st.sampled_from([0, 1, 2]),
    st.sampled_from(["ACTIVE", "DRAINING", "INACTIVE"]),
)


@given(
    looked=st.builds(
        Snapshot,
        service=SERVICES,
        tasks=TASKS,
        targets=TARGETS,
        answer=ANSWERS,
        elapsed=st.sampled_from([0.0, 700.0]),
        wrong_for=st.sampled_from([0.0, 60.0]),
    )
)
def test_nothing_but_every_sign_of_success_is_success(looked: Snapshot) -> None:
    verdict = evaluate(EXPECTATION, looked, LIMITS)
    if verdict.kind is not Kind.HEALTHY:
        # Waiting ends: nothing is pending once its time is over.
        assert verdict.kind is Kind.FAILED or looked.elapsed <= LIMITS.timeout
        return
    assert looked.service is not None
    assert looked.service.status == "ACTIVE"
    assert looked.service.revision == NEW
    assert looked.answer is not None
    assert (looked.answer.status, looked.answer.body["version"]) == (200, "v8")
    alive = [item for item in looked.tasks if item.status == "RUNNING" and item.revision == NEW]
    assert len(alive) == 1
    assert target(8, "healthy") in (looked.targets or ())
    assert all(item.address == "10.0.0.8" for item in looked.targets or ())
