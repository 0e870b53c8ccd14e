"""One-off tasks: what they run as, how their end is told, and that none is left behind."""

from collections.abc import Callable

import anyio
import pytest

from ci.errors import AwsError, TaskFailedError, UsageError
from ci.release.run_task import TaskResult, run_task
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
    assert override == {"name": f"{HUNTER}-agent", "command": ["migrate", "the", "rules"]}
    assert world(deployed).stops == []


async def test_a_failed_task_is_reported_with_exit_code_and_last_lines(deployed: Pipeline) -> None:
    done, _ = await ran(deployed, "check", "3")
    assert done.exit_code == 3
    assert done.data()["exit_code"] == 3
    with pytest.raises(TaskFailedError, match="exit code 3") as raised:
        done.raise_for_failure()
    assert "    | check" in str(raised.value)


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
