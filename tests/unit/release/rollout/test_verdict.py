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
from ci.release.rollout.verdict import ANSWER_PATIENCE, Cause, Goal, Kind, Limits, Seen, judge

NEW, OLD = "arn:family:8", "arn:family:7"
T0 = datetime.datetime(2026, 11, 24, 12, 0, 0, 500000, tzinfo=datetime.UTC)
LIMITS = Limits(failures=1, grace=30, timeout=600)
GOAL = Goal(
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
        service=GOAL.service,
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
        name=GOAL.service,
        status="ACTIVE",
        revision=next(d.revision for d in listed if d.status == "PRIMARY"),
        desired=1,
        running=1,
        settings="{}",
        deployments=listed,
    )
    return dataclasses.replace(made, **changes)


GOOD = Seen(
    service=service(),
    tasks=(task(),),
    targets=(Target(address="10.0.0.8", state="healthy"),),
    answer=Answer(status=200, body=BODY),
    elapsed=5,
)


def seen(**changes: Any) -> Seen:
    return dataclasses.replace(GOOD, **changes)


def target(number: int, state: str) -> Target:
    return Target(address=f"10.0.0.{number}", state=state)


FAILED: dict[str, tuple[Seen, str]] = {
    "missing": (seen(service=None), "gone (missing)"),
    "deleted": (seen(service=service(status="INACTIVE")), "gone (INACTIVE)"),
    "draining": (seen(service=service(status="DRAINING")), "gone (DRAINING)"),
    "scaled to 0 by somebody": (seen(service=service(desired=0, running=0)), "desired count to 0"),
    "given up by the circuit breaker": (
        seen(service=service(deployment(8, state="FAILED"))),
        "ECS gave the deployment up: tasks failed to start",
    ),
    "rolled back by ECS": (
        seen(
            service=service(deployment(7), deployment(8, status="ACTIVE", state="FAILED")),
        ),
        "ECS gave the deployment up and runs revision 7 again: tasks failed to start",
    ),
    "rolled back by ECS and forgotten but for the event": (
        seen(
            service=service(
                deployment(7),
                events=(
                    "(service x) has reached a steady state.",
                    "(service x) (deployment ecs-svc/8) deployment failed: alarm detected.",
                ),
            )
        ),
        "ECS gave the deployment up and runs revision 7 again: alarm detected",
    ),
    "replaced after another deployment failed": (
        seen(
            service=service(
                deployment(7),
                events=("(service x) (deployment ecs-svc/88) deployment failed: x.",),
            )
        ),
        "another deployment (revision 7) took this one's place",
    ),
    "stable with our deployment gone": (
        seen(service=service(deployment(7))),
        "another deployment (revision 7) took this one's place",
    ),
    "replaced by another deploy": (
        seen(service=service(deployment(9), deployment(8, status="ACTIVE"))),
        "another deployment (revision 9) took this one's place",
    ),
    "restarted by another with the same revision": (
        seen(service=service(dataclasses.replace(deployment(8), id="ecs-svc/99"))),
        "another deployment of the same revision",
    ),
    "crash at start": (seen(tasks=(crashed(),)), "does not stay up (revision 8, 1 stopped task)"),
    "crash although its successor runs": (seen(tasks=(crashed(), task())), "does not stay up"),
    "crash told by revision and time alone": (
        seen(tasks=(crashed(started_by="acso-staging-supervisor"),)),
        "does not stay up",
    ),
    "crash within the second of the deployment": (
        seen(tasks=(crashed(started_by="x", created_at=T0.replace(microsecond=0)),)),
        "does not stay up",
    ),
    "cannot pull": (
        seen(
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
        seen(
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
        seen(tasks=(task(health="UNHEALTHY"),)),
        "does not stay up (revision 8, 1 unhealthy task)",
    ),
    "target never healthy": (
        seen(targets=(target(8, "unhealthy"),), answer=None, ages={"task8": 31}),
        "not healthy 30 s after it started (revision 8, target unhealthy)",
    ),
    "wrong version": (
        seen(
            answer=Answer(status=200, body=BODY | {"version": "v7"}),
            wrong_for=ANSWER_PATIENCE + 1,
        ),
        "not version v8",
    ),
    "wrong digest": (
        seen(
            answer=Answer(status=200, body=BODY | {"digest": "sha256:7"}),
            wrong_for=ANSWER_PATIENCE + 1,
        ),
        "the load balancer answers",
    ),
    "no answer": (
        seen(answer=Answer(status=0, error="no answer: timed out"), wrong_for=ANSWER_PATIENCE + 1),
        "no answer: timed out",
    ),
    "time over while starting": (
        seen(tasks=(task(status="PENDING"),), elapsed=601),
        "not done after 600 s: 1 tasks wanted, pending",
    ),
    "time over with nothing placed": (seen(tasks=(), elapsed=601), "1 tasks wanted, 0 running"),
}
#: Causes other than the service's own fault.
CAUSES = {
    "missing": Cause.REPLACED,
    "deleted": Cause.REPLACED,
    "draining": Cause.REPLACED,
    "scaled to 0 by somebody": Cause.REPLACED,
    "rolled back by ECS": Cause.ECS,
    "rolled back by ECS and forgotten but for the event": Cause.ECS,
    "replaced after another deployment failed": Cause.REPLACED,
    "stable with our deployment gone": Cause.REPLACED,
    "replaced by another deploy": Cause.REPLACED,
    "restarted by another with the same revision": Cause.REPLACED,
    "time over while starting": Cause.LATE,
    "time over with nothing placed": Cause.LATE,
}
PENDING: dict[str, tuple[Seen, str]] = {
    "no task yet": (seen(tasks=()), "1 tasks wanted, 0 running"),
    "task starts": (seen(tasks=(task(status="ACTIVATING"),)), "activating"),
    "only the old task runs": (seen(tasks=(task(7),)), "1 tasks wanted, 0 running"),
    "targets not asked": (seen(targets=None, answer=None), "targets not looked at"),
    "no target": (seen(targets=()), "none registered"),
    "target initial": (seen(targets=(target(8, "initial"),)), "initial"),
    "target unhealthy within its grace": (
        seen(targets=(target(8, "unhealthy"),), ages={"task8": 29}),
        "unhealthy",
    ),
    "old target still serves": (
        seen(targets=(target(8, "healthy"), target(7, "healthy"))),
        "1 old targets still serve",
    ),
    "not asked": (seen(answer=None), "not asked yet"),
    "wrong version for a moment": (
        seen(answer=Answer(status=200, body=BODY | {"version": "v7"}), wrong_for=1),
        "answers HTTP 200",
    ),
    "right body, wrong status": (seen(answer=Answer(status=503, body=BODY)), "answers HTTP 503"),
    "rollout in progress": (
        seen(service=service(deployment(8, state="IN_PROGRESS"))),
        "completing",
    ),
    "old task stops": (seen(service=service(running=2)), "old tasks are stopping"),
    "an old task crashes": (
        seen(tasks=(crashed(7),), service=service(deployment(8, state="IN_PROGRESS"))),
        "1 tasks wanted",
    ),
    "a task stopped by a person": (
        seen(tasks=(crashed(stop_code="UserInitiated"),)),
        "1 tasks wanted",
    ),
    "scaled down": (
        seen(tasks=(crashed(stop_code="ServiceSchedulerInitiated"),)),
        "1 tasks wanted",
    ),
}


@pytest.mark.parametrize("case", FAILED)
def test_a_failure_is_told_as_what_it_is(case: str) -> None:
    looked, text = FAILED[case]
    verdict = judge(GOAL, looked, LIMITS)
    assert verdict.kind is Kind.FAILED, verdict
    assert text in verdict.text
    assert verdict.cause is CAUSES.get(case, Cause.BROKEN)


@pytest.mark.parametrize("case", PENDING)
def test_what_may_still_become_good_is_waited_for(case: str) -> None:
    looked, text = PENDING[case]
    verdict = judge(GOAL, looked, LIMITS)
    assert verdict.kind is Kind.PENDING, verdict
    assert text in verdict.text


def test_every_sign_together_is_success() -> None:
    assert judge(GOAL, GOOD, LIMITS).kind is Kind.GOOD


def test_old_targets_that_drain_are_no_hindrance() -> None:
    looked = seen(targets=(target(8, "healthy"), target(7, "draining")))
    assert judge(GOAL, looked, LIMITS).kind is Kind.GOOD


def test_a_service_of_no_tasks_is_good_without_targets_and_answer() -> None:
    goal = dataclasses.replace(GOAL, run=dataclasses.replace(GOAL.run, desired=0))
    looked = seen(service=service(desired=0, running=0), tasks=(), targets=None, answer=None)
    assert judge(goal, looked, LIMITS).kind is Kind.GOOD


def test_more_failures_are_borne_where_the_threshold_says_so() -> None:
    looked = seen(tasks=(crashed(), task()))
    patient = dataclasses.replace(LIMITS, failures=2)
    assert judge(GOAL, looked, LIMITS).kind is Kind.FAILED
    assert judge(GOAL, looked, patient).kind is Kind.GOOD
    twice = seen(tasks=(crashed(), crashed(id="dead2"), task()))
    assert judge(GOAL, twice, patient).kind is Kind.FAILED


def test_a_service_only_looked_at_is_not_blamed_for_its_past() -> None:
    goal = dataclasses.replace(GOAL, deployment="", since=None)
    assert judge(goal, seen(tasks=(crashed(), task())), LIMITS).kind is Kind.GOOD


def test_the_failing_tasks_come_with_the_verdict() -> None:
    verdict = judge(GOAL, seen(tasks=(crashed(), task())), LIMITS)
    assert [item.id for item in verdict.failing] == ["dead"]


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
        Seen,
        service=SERVICES,
        tasks=TASKS,
        targets=TARGETS,
        answer=ANSWERS,
        elapsed=st.sampled_from([0.0, 700.0]),
        wrong_for=st.sampled_from([0.0, 60.0]),
    )
)
def test_nothing_but_every_sign_of_success_is_success(looked: Seen) -> None:
    verdict = judge(GOAL, looked, LIMITS)
    if verdict.kind is not Kind.GOOD:
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
