"""Why tasks failed, in words."""

import dataclasses

import pytest

from ci.aws.ecs import Task
from ci.aws.elb import Target
from ci.aws.session import Aws
from ci.errors import AwsError
from ci.release.observe.failures import collect, describe, exit_words, link
from ci.release.rollout.verdict import Kind, Verdict
from tests.unit.release.conftest import Pipeline
from tests.unit.release.rollout.test_verdict import EXPECTATION, crashed, snapshot


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        (0, "", "ended without an error"),
        (1, "", "exit code 1"),
        (127, "", "not found"),
        (137, "", "killed"),
        (137, "OutOfMemoryError: container killed due to memory usage", "out of memory"),
        (139, "", "SIGSEGV"),
        (140, "", "killed by signal 12"),
    ],
)
def test_an_exit_code_is_described(code: int, reason: str, words: str) -> None:
    assert words in exit_words(code, reason)
    assert f"exit code {code}" in exit_words(code, reason)


def test_a_task_s_description_has_no_duplicates() -> None:
    task = crashed(stopped_reason="Essential container exited", container_reason="boom")
    assert describe(task) == "exit code 1; boom; Essential container exited"
    assert describe(Task(id="t", service="s", revision="r", status="RUNNING")) == "task is running"
    sick = Task(id="t", service="s", revision="r", status="RUNNING", health="UNHEALTHY")
    assert describe(sick) == "its health check fails"


async def test_the_newest_failures_come_with_their_last_lines(pipeline: Pipeline) -> None:
    verdict = Verdict(kind=Kind.FAILED, text="", failed_tasks=tuple(crashed(n) for n in (8, 9, 10)))
    found = await collect(pipeline.context, EXPECTATION, verdict)
    assert len(found) == 2
    assert found[0].log[-1] == "RuntimeError: boom"
    assert "    | RuntimeError: boom" in found[0].text()
    assert found[0].data()["exit_code"] == 1


async def test_a_task_that_never_ran_has_no_log(pipeline: Pipeline) -> None:
    verdict = Verdict(
        kind=Kind.FAILED, text="", failed_tasks=(crashed(stop_code="TaskFailedToStart"),)
    )
    (found,) = await collect(pipeline.context, EXPECTATION, verdict)
    assert found.log == ()
    assert "get_log_events" not in pipeline.world.calls


async def test_an_unreadable_log_is_reported(pipeline: Pipeline) -> None:
    pipeline.world.errors["get_log_events"] = AwsError("logs get_log_events: AccessDenied")
    verdict = Verdict(kind=Kind.FAILED, text="", failed_tasks=(crashed(),))
    (found,) = await collect(pipeline.context, EXPECTATION, verdict)
    assert found.log == ("(log not readable: logs get_log_events: AccessDenied)",)


async def test_a_failure_shows_task_container_health_target_and_console(
    pipeline: Pipeline,
) -> None:
    task = crashed(container="supervisor-agent", health="UNHEALTHY")
    why = Target(
        address=task.address,
        state="unhealthy",
        code="Target.ResponseCodeMismatch",
        reason="Health checks failed with these codes: [500]",
    )
    looked = snapshot(targets=(Target(address="10.0.0.99", state="healthy"), why))
    verdict = Verdict(kind=Kind.FAILED, text="", failed_tasks=(task,))
    (found,) = await collect(pipeline.context, EXPECTATION, verdict, looked)
    assert found.text().splitlines()[1] == (
        "    task dead, supervisor-agent, EssentialContainerExited, health unhealthy, "
        "target unhealthy (Target.ResponseCodeMismatch: "
        "Health checks failed with these codes: [500])"
    )
    assert found.text().splitlines()[-1].strip() == found.link
    assert {"container", "target", "link", "health", "stop_code"} <= found.data().keys()


@pytest.mark.parametrize(
    ("code", "reason", "what"),
    [
        ("Target.FailedHealthChecks", "Health checks failed", "nothing listened on port 8000"),
        ("Target.FailedHealthChecks", "failed with these codes: [500]", "its health check fails"),
        ("Target.Timeout", "Request timed out", "its health check fails"),
    ],
)
async def test_a_task_that_never_listened_is_described_as_such_with_its_last_lines(
    code: str, reason: str, what: str, pipeline: Pipeline
) -> None:
    task = Task(
        id="mute", service="s", revision="r", status="RUNNING", health="UNHEALTHY", address="10.9"
    )
    silent = Target(address="10.9", state="unhealthy", code=code, reason=reason)
    looked = snapshot(targets=(silent,), tasks=(task,), ages={"mute": 30.4})
    verdict = Verdict(kind=Kind.FAILED, text="", failed_tasks=(task,))
    (found,) = await collect(pipeline.context, EXPECTATION, verdict, looked)
    assert found.what == what + " for 30 s" * what.startswith("nothing")
    assert found.log[-1] == "RuntimeError: boom"


@pytest.mark.parametrize(
    ("region", "begins"),
    [
        ("eu-west-1", "https://eu-west-1.console.aws.amazon.com/ecs/v2/clusters/"),
        ("cn-north-1", "https://cn-north-1.console.amazonaws.cn/ecs/v2/clusters/"),
        ("us-gov-west-1", "https://us-gov-west-1.console.amazonaws-us-gov.com/ecs/v2/clusters/"),
    ],
)
def test_the_console_is_that_of_the_region(pipeline: Pipeline, region: str, begins: str) -> None:
    context = dataclasses.replace(pipeline.context, aws=Aws(region=region))
    assert link(context, "t1").startswith(begins)
    assert link(context, "t1").endswith(
        f"acso-staging-cluster/tasks/t1/configuration?region={region}"
    )


def test_another_endpoint_has_no_console(pipeline: Pipeline) -> None:
    context = dataclasses.replace(pipeline.context, aws=Aws(region="x", endpoint="http://here"))
    assert link(context, "t1") == ""
