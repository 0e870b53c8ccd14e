"""What counts together as one cause, and what ends a rollout with its first task."""

import dataclasses
from typing import Any

import pytest

from ci.aws.ecs import Task
from ci.release.rollout.causes import (
    CAPACITY,
    FATAL,
    HEALTH,
    MEMORY,
    NETWORK,
    PULL,
    RESOURCES,
    SLOW_PULL,
    SLOW_RESOURCES,
    TRANSIENT,
    TRANSIENT_FAILURES,
    failure_cause,
    threshold_reached,
)
from ci.release.rollout.verdict import Kind, evaluate
from tests.unit.release.rollout.test_verdict import EXPECTATION, LIMITS, crashed, snapshot, task

NOT_STARTED: dict[str, Any] = {"stop_code": "TaskFailedToStart", "exit_code": None}
CAUSES: dict[str, tuple[Task, str]] = {
    "no such image": (
        crashed(**NOT_STARTED, stopped_reason="CannotPullContainerError: pull image manifest..."),
        PULL,
    ),
    "pull told by the container": (
        crashed(**NOT_STARTED, container_reason="CannotPullImageManifestError: no such host"),
        PULL,
    ),
    "no secret": (
        crashed(
            **NOT_STARTED,
            stopped_reason="ResourceInitializationError: unable to pull secrets or registry auth",
        ),
        RESOURCES,
    ),
    "a slow registry": (
        crashed(
            **NOT_STARTED,
            stopped_reason="CannotPullContainerError: pull image manifest has been retried 5 "
            'time(s): failed to do request: Head "https://0/v2/acso": dial tcp: i/o timeout',
        ),
        SLOW_PULL,
    ),
    "a throttled pull": (
        crashed(
            **NOT_STARTED,
            container_reason="CannotPullContainerError: toomanyrequests: Rate exceeded",
        ),
        SLOW_PULL,
    ),
    "a slow secret": (
        crashed(
            **NOT_STARTED,
            stopped_reason="ResourceInitializationError: unable to pull secrets or registry auth: "
            "RequestError: send request failed: dial tcp 10.0.0.1:443: i/o timeout",
        ),
        SLOW_RESOURCES,
    ),
    "a late network interface": (
        crashed(
            **NOT_STARTED,
            stopped_reason="Timeout waiting for network interface provisioning to complete.",
        ),
        NETWORK,
    ),
    "no capacity": (
        crashed(
            **NOT_STARTED,
            stopped_reason="Capacity is unavailable at this time. Please try again later or in a "
            "different availability zone",
        ),
        CAPACITY,
    ),
    "out of memory": (
        crashed(exit_code=137, container_reason="OutOfMemoryError: Container killed due to memory"),
        MEMORY,
    ),
    "exit": (crashed(), "exit code 1"),
    "killed": (crashed(exit_code=137), "exit code 137"),
    "target": (
        crashed(
            stop_code="ServiceSchedulerInitiated",
            exit_code=0,
            stopped_reason="Task failed ELB health checks in (target-group x)",
        ),
        HEALTH,
    ),
    "container's health": (
        crashed(
            stop_code="ServiceSchedulerInitiated", stopped_reason="failed container health checks"
        ),
        HEALTH,
    ),
    "runs unhealthy": (task(health="UNHEALTHY"), HEALTH),
    "nothing known": (crashed(exit_code=None), "EssentialContainerExited"),
}


@pytest.mark.parametrize("case", CAUSES)
def test_a_failure_has_one_cause(case: str) -> None:
    failed, words = CAUSES[case]
    assert failure_cause(failed) == words


def test_failures_of_different_causes_are_not_added_up() -> None:
    one, other = crashed(), crashed(exit_code=139, id="dead2")
    assert not threshold_reached([one, other], 2)
    assert threshold_reached([one, other, crashed(id="dead3")], 2)
    assert not threshold_reached([], 1)


@pytest.mark.parametrize("why", sorted(FATAL))
def test_a_cause_that_a_retry_does_not_fix_ends_the_rollout_at_once(why: str) -> None:
    failed = next(item for item, words in CAUSES.values() if words == why)
    patient = dataclasses.replace(LIMITS, failures=5)
    assert evaluate(EXPECTATION, snapshot(tasks=(failed, task())), patient).kind is Kind.FAILED
    assert evaluate(EXPECTATION, snapshot(tasks=(crashed(), task())), patient).kind is Kind.HEALTHY


@pytest.mark.parametrize("why", sorted(TRANSIENT))
def test_what_passes_by_itself_has_a_threshold_of_its_own(why: str) -> None:
    failed = next(item for item, words in CAUSES.values() if words == why)
    many = [dataclasses.replace(failed, id=str(n)) for n in range(TRANSIENT_FAILURES)]
    assert not threshold_reached(many[1:], 1)
    assert threshold_reached(many, 1)
    assert not threshold_reached(many, TRANSIENT_FAILURES + 1)
