"""Looking at what runs, on real containers: logs, one-off tasks, commands in tasks, drift.

Slow, because containers start and stop; the commands are run as their users would.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import anyio
import pytest

from ci import release
from ci.errors import TaskFailedError, UsageError
from ci.release.observe import logs
from ci.release.observe.logs import Query
from ci.release.run_task import TaskResult, run_task
from tests.local.releases.environment import ROOT, World

pytestmark = pytest.mark.docker
HUNTER = "threat-hunter"
ENV = ("--env", "development")
TALKS = "import sys; print('one'); print('two'); sys.exit({code})"


@pytest.fixture
async def good(world: World) -> World:
    """The good images, deployed."""
    outcome = await world.deploy(world.images("good"))
    assert outcome.ok, outcome.text()
    world.lines.clear()
    return world


async def acso(*arguments: str) -> tuple[int, str, str]:
    """Run a command of this instance's environment; returns exit code, output and errors."""
    with anyio.fail_after(120):
        done = await anyio.run_process(command(*arguments), cwd=ROOT, env=environ(), check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "ci", *arguments]


def environ() -> dict[str, str]:
    return {**os.environ, "GITHUB_ACTIONS": "false"}


async def lines(world: World, **asked: object) -> list[logs.Line]:
    return await logs.read(world.context, await logs.scope(world.context, Query(**asked)))  # type: ignore[arg-type]


async def talk(world: World, code: int, told: list[str] | None = None) -> TaskResult:
    """Run a task that writes two lines and ends with an exit code."""
    return await run_task(
        world.context,
        HUNTER,
        ["python3", "-u", "-c", TALKS.format(code=code)],
        tell=(told if told is not None else []).append,
        say=world.say,
        seconds=60,
    )


async def test_every_agent_s_lines_come_by_time_and_can_be_narrowed(good: World) -> None:
    found = await lines(good)
    agents = {agent.name for agent in good.context.config.agents}
    assert {item.agent for item in found if item.message == f"starting {item.agent}"} == agents
    assert [item.at for item in found] == sorted(item.at for item in found)
    only = await lines(good, agents=(HUNTER,), grep="^starting", since="1h")
    assert {item.message for item in only} == {f"starting {HUNTER}"}
    assert await lines(good, grep="no line says this") == []
    newest = max(item.at for item in found)
    after = newest.replace(microsecond=999_999).isoformat()
    assert [item for item in await lines(good, since=after) if item.at <= newest] == []


async def test_a_release_s_lines_are_those_of_its_own_tasks(good: World) -> None:
    outcome = await good.deploy(good.images("good", threat_hunter="good-logs"))
    assert outcome.ok
    found = await lines(good, release=outcome.release, grep="^starting")
    assert {item.agent for item in found} == {HUNTER}
    (task,) = {item.task for item in found}
    assert f"/{task}" in "".join(good.tasks())
    with pytest.raises(UsageError, match="not on record"):
        await lines(good, release="2001.01.01-1")


async def test_a_one_off_task_ends_with_its_own_exit_code_and_log(good: World) -> None:
    before, told = good.tasks(), list[str]()
    ran = await talk(good, 3, told)
    assert (ran.exit_code, told) == (3, ["one", "two"])
    with pytest.raises(TaskFailedError, match="exit code 3"):
        ran.raise_for_failure()
    assert (await talk(good, 0)).exit_code == 0
    assert good.tasks() == before  # it is no service's task, and gone


async def test_a_one_off_task_that_is_cancelled_is_stopped(good: World) -> None:
    before = good.tasks()
    with anyio.move_on_after(4) as scope:
        await run_task(
            good.context, HUNTER, ["sleep", "600"], tell=good.say, say=good.say, seconds=60
        )
    assert scope.cancelled_caught
    assert good.tasks() == before
    assert any(line.endswith(" is stopped") for line in good.lines)


@pytest.mark.usefixtures("good")
async def test_the_command_line_ends_with_the_task_s_exit_code() -> None:
    python = ["python3", "-u", "-c", TALKS.format(code=7)]
    code, out, err = await acso("run-task", *ENV, "--agent", HUNTER, "--", *python)
    assert (code, out) == (7, "one\ntwo\n"), err


@pytest.mark.usefixtures("good")
async def test_the_command_line_writes_log_lines_as_one_json_document() -> None:
    code, out, err = await acso("logs", *ENV, "--agent", HUNTER, "--grep", "starting", "--json")
    assert code == 0, err
    told = json.loads(out)["result"]
    assert {item["agent"] for item in told} == {HUNTER}
    assert told[0].keys() == {"time", "agent", "task", "level", "message", "fields"}


@pytest.mark.usefixtures("good")
async def test_a_command_runs_in_a_task_s_own_container() -> None:
    script = "printenv ACSO_AGENT; exit 5"
    code, out, err = await acso("exec", *ENV, "--agent", HUNTER, "--", "sh", "-c", script)
    assert (code, out) == (5, f"{HUNTER}\n"), err
    code, out, err = await acso("exec", *ENV, "--agent", HUNTER, "--json", "--", "sh", "-c", script)
    assert (code, json.loads(out)["result"]) == (5, {"exit_code": 5, "output": f"{HUNTER}\n"}), err


@pytest.fixture
def started() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start commands that go on until stopped; none is left at the end."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> "subprocess.Popen[str]":
        processes.append(
            subprocess.Popen(
                command(*arguments),
                cwd=ROOT,
                env=environ(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


async def line_with(process: "subprocess.Popen[str]", text: str) -> str:
    """Return the first line that a process writes and that has the text."""

    def read() -> str:
        assert process.stdout is not None
        return next((line for line in process.stdout if text in line), "")

    with anyio.fail_after(60):
        return await anyio.to_thread.run_sync(read)


async def test_following_continues_until_ctrl_c_and_exits_with_0(
    good: World, started: Callable[..., "subprocess.Popen[str]"]
) -> None:
    process = started("logs", *ENV, "--follow")
    assert await line_with(process, "starting")
    await run_task(
        good.context, HUNTER, ["echo", "while followed"], tell=good.say, say=good.say, seconds=60
    )
    assert HUNTER in await line_with(process, "while followed")
    process.send_signal(signal.SIGINT)
    assert await anyio.to_thread.run_sync(process.wait, 20) == 0


async def test_a_change_by_hand_is_drift_and_watching_tells_it(
    good: World, started: Callable[..., "subprocess.Popen[str]"]
) -> None:
    context = good.context
    assert (await release.status(context)).ok
    process = started("status", *ENV, "--watch")
    assert "healthy" in await line_with(process, f"{HUNTER}: ")
    context.aws.client("ecs").update_service(
        cluster=context.outputs.cluster,
        service=f"{context.env.prefix}-{HUNTER}",
        desiredCount=2,
    )
    drift = "2 tasks desired; the record lists 1"
    assert HUNTER in await line_with(process, drift)
    process.send_signal(signal.SIGINT)
    assert await anyio.to_thread.run_sync(process.wait, 20) == 0
    found = await release.status(context)
    assert not found.ok
    assert f"  {HUNTER}: {drift}" in found.text().splitlines()
    assert {item.agent for item in found.services if item.drift} == {HUNTER}
    outcome = await good.deploy(good.images("good"))  # updates it back
    assert outcome.ok
    assert (await release.status(context)).ok
