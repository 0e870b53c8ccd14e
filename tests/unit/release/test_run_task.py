"""One-off tasks: what they run as, how their end is told, and that none is left behind."""

import re
from collections.abc import Callable

import anyio
import pytest

from ci.errors import AwsError, TaskFailedError, UsageError
from ci.release.observe import one_off_tasks
from ci.release.observe.status import status
from ci.release.run_task import TaskResult, run_task
from tests.unit.json_documents import result
from tests.unit.release.conftest import Pipeline
from tests.unit.release.fakes.logs import LoggedWorld

HUNTER = "threat-hunter"


@pytest.fixture
async def deployed(new: Callable[..., Pipeline]) -> Pipeline:
    """A process in a world whose tasks write, all agents deployed."""
    pipeline = new(LoggedWorld)
    assert (await pipeline.deploy()).ok
    pipeline.lines.clear()
    return pipeline


def world(pipeline: Pipeline) -> LoggedWorld:
    assert isinstance(pipeline.world, LoggedWorld)
    return pipeline.world


async def ran(
    pipeline: Pipeline, *command: str, seconds: float = 60
) -> tuple[TaskResult, list[str]]:
    told: list[str] = []
    done = await run_task(
        pipeline.context,
        HUNTER,
        command,
        tell=told.append,
        say=pipeline.lines.append,
        seconds=seconds,
    )
    return done, told


async def test_a_task_runs_as_the_agent_does_with_another_command(deployed: Pipeline) -> None:
    done, told = await ran(deployed, "migrate", "the", "rules")
    assert told == ["migrate", "the", "rules"]
    assert (done.exit_code, done.log) == (0, tuple(told))
    done.raise_for_failure()
    (request,) = world(deployed).requests
    service = world(deployed).services[f"acso-staging-{HUNTER}"].request
    assert request["taskDefinition"] == service["taskDefinition"]
    assert request["networkConfiguration"] == service["networkConfiguration"]
    assert request["launchType"] == "FARGATE"
    (override,) = request["overrides"]["containerOverrides"]
    assert override["name"] == f"{HUNTER}-agent"
    # The task ends by itself if nobody is left to stop it.
    assert override["command"] == ["timeout", "--kill-after=10", "90", "migrate", "the", "rules"]
    assert re.fullmatch(r"[A-Za-z0-9/_-]{1,128}", request["startedBy"])  # what RunTask accepts
    assert world(deployed).stops == []


async def test_a_failed_task_is_reported_with_exit_code_and_last_lines(deployed: Pipeline) -> None:
    done, _ = await ran(deployed, "check", "3")
    assert done.exit_code == 3
    assert done.data()["exit_code"] == 3
    result("task").validate(done.data())
    with pytest.raises(TaskFailedError, match="exit code 3") as raised:
        done.raise_for_failure()
    assert "    | check" in str(raised.value)
    assert raised.value.details == done.data()


async def test_lines_that_come_after_its_end_are_not_lost(deployed: Pipeline) -> None:
    world(deployed).delay = 3.5
    done, told = await ran(deployed, "a", "b", "c")
    assert told == ["a", "b", "c"] == list(done.log)


async def test_a_task_that_never_starts_is_reported_with_the_reason(deployed: Pipeline) -> None:
    done, told = await ran(deployed, "pull")
    assert (done.exit_code, told) == (None, [])
    with pytest.raises(TaskFailedError, match="CannotPullContainerError"):
        done.raise_for_failure()


async def test_a_task_that_takes_too_long_is_stopped(deployed: Pipeline) -> None:
    with pytest.raises(TaskFailedError, match="did not end within 20 s and was stopped"):
        await ran(deployed, "sleep", seconds=20)
    assert world(deployed).stops == ["once0"]


async def test_ctrl_c_stops_the_task(deployed: Pipeline) -> None:
    with anyio.move_on_after(5) as scope:
        await ran(deployed, "sleep")
    assert scope.cancelled_caught
    assert world(deployed).stops == ["once0"]
    assert deployed.lines[-1] == "task once0 is stopped"


async def test_an_error_on_the_way_stops_the_task_too(deployed: Pipeline) -> None:
    world(deployed).errors["get_log_events"] = AwsError("expired", code="ExpiredTokenException")
    with pytest.raises(AwsError, match="expired"):
        await ran(deployed, "sleep")
    assert world(deployed).stops == ["once0"]


async def test_a_task_that_cannot_be_stopped_is_reported(deployed: Pipeline) -> None:
    world(deployed).errors["stop_task"] = AwsError("ecs stop_task: AccessDenied")
    with pytest.raises(TaskFailedError):
        await ran(deployed, "sleep", seconds=5)
    assert deployed.lines[-1].endswith("it could not be stopped: ecs stop_task: AccessDenied")


async def test_without_capacity_ecs_s_reason_is_reported(deployed: Pipeline) -> None:
    with pytest.raises(AwsError, match=r"RESOURCE:MEMORY \(no room\)"):
        await ran(deployed, "nowhere")


async def test_an_agent_that_does_not_run_has_no_revision_to_run(deployed: Pipeline) -> None:
    world(deployed).services[f"acso-staging-{HUNTER}"].status = "INACTIVE"
    with pytest.raises(UsageError, match="does not run in staging"):
        await ran(deployed, "migrate")


async def test_a_missing_command_is_wrong_usage(deployed: Pipeline) -> None:
    with pytest.raises(UsageError, match="no command"):
        await ran(deployed)


async def test_a_one_off_task_belongs_to_no_service(deployed: Pipeline) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(ran, deployed, "crash", "1")
        assert (await deployed.deploy("good-2")).ok


async def abandoned(pipeline: Pipeline) -> None:
    """Start a task whose `run-task` is killed at once, before it can stop it."""
    world(pipeline).errors["stop_task"] = AwsError("killed")
    with anyio.move_on_after(2):
        await ran(pipeline, "sleep", seconds=60)
    del world(pipeline).errors["stop_task"]
    pipeline.lines.clear()


async def test_status_lists_the_task_of_a_killed_command(deployed: Pipeline) -> None:
    await abandoned(deployed)
    (note,) = (await status(deployed.context)).notes
    assert note.startswith(f"one-off task once0 of {HUNTER} runs, until ")
    await anyio.sleep(60 + one_off_tasks.MARGIN_SECONDS + 1)
    (note,) = (await status(deployed.context)).notes
    assert "should have ended at" in note
    assert world(deployed).stops == []  # looking changes nothing


@pytest.mark.parametrize("command", ["run-task", "deploy", "rollback"])
async def test_the_next_command_stops_a_task_past_its_deadline(
    command: str, deployed: Pipeline
) -> None:
    await abandoned(deployed)
    assert (await deployed.deploy("good-2")).ok
    assert world(deployed).stops == []  # within its deadline
    await anyio.sleep(60 + one_off_tasks.MARGIN_SECONDS + 1)
    match command:
        case "run-task":
            await ran(deployed, "migrate")
        case "deploy":
            assert (await deployed.deploy("good-3")).ok
        case _:
            assert (await deployed.rollback()).ok
    assert world(deployed).stops == ["once0"]
    assert f"one-off task once0 of {HUNTER} was past its deadline and is stopped" in deployed.lines


async def test_a_release_is_good_though_an_old_task_cannot_be_stopped(deployed: Pipeline) -> None:
    await abandoned(deployed)
    await anyio.sleep(60 + one_off_tasks.MARGIN_SECONDS + 1)
    world(deployed).errors["stop_task"] = AwsError("ecs stop_task: AccessDenied")
    outcome = await deployed.deploy("good-2")
    assert outcome.ok
    assert any("could not be stopped: ecs stop_task: AccessDenied" in n for n in outcome.notes)
