"""Why tasks failed, in words."""

import pytest

from ci.aws.ecs import Task
from ci.errors import AwsError
from ci.release.reasons import collect, describe, exit_words
from ci.release.verdict import Kind, Verdict
from tests.unit.release.conftest import Pipeline
from tests.unit.release.test_verdict import GOAL, crashed


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
def test_an_exit_code_is_told_in_words(code: int, reason: str, words: str) -> None:
    assert words in exit_words(code, reason)
    assert f"exit code {code}" in exit_words(code, reason)


def test_a_task_is_described_once_by_everything_known() -> None:
    task = crashed(stopped_reason="Essential container exited", container_reason="boom")
    assert describe(task) == "exit code 1; boom; Essential container exited"
    assert describe(Task(id="t", service="s", revision="r", status="RUNNING")) == "task is running"
    sick = Task(id="t", service="s", revision="r", status="RUNNING", health="UNHEALTHY")
    assert describe(sick) == "its health check fails"


async def test_the_newest_failures_come_with_their_last_lines(pipeline: Pipeline) -> None:
    verdict = Verdict(kind=Kind.FAILED, text="", failing=tuple(crashed(n) for n in (8, 9, 10)))
    found = await collect(pipeline.place, GOAL, verdict)
    assert len(found) == 2
    assert found[0].log[-1] == "RuntimeError: boom"
    assert "    | RuntimeError: boom" in found[0].text()
    assert found[0].data()["exit_code"] == 1


async def test_a_task_that_never_ran_has_no_log(pipeline: Pipeline) -> None:
    verdict = Verdict(kind=Kind.FAILED, text="", failing=(crashed(stop_code="TaskFailedToStart"),))
    (found,) = await collect(pipeline.place, GOAL, verdict)
    assert found.log == ()
    assert "get_log_events" not in pipeline.world.calls


async def test_a_log_that_cannot_be_read_says_so(pipeline: Pipeline) -> None:
    pipeline.world.errors["get_log_events"] = AwsError("logs get_log_events: AccessDenied")
    verdict = Verdict(kind=Kind.FAILED, text="", failing=(crashed(),))
    (found,) = await collect(pipeline.place, GOAL, verdict)
    assert found.log == ("(log not readable: logs get_log_events: AccessDenied)",)
