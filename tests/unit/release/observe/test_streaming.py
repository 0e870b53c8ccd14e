"""`ci.cli.streaming`: commands that print while they run, and how they end.

The tests are here because they use the simulated AWS of the release tests.
"""

import argparse
import dataclasses
import json
import re
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from ci.aws.logs import Event
from ci.aws.session import Aws
from ci.cli import streaming
from ci.cli.streaming import ReplacementProgram, coloured, until_interrupted
from ci.errors import ContainerEngineError, ExecError, TaskFailedError
from ci.local import container_engine
from ci.release.model import ReleaseContext
from ci.release.observe import ecs_exec, logs
from ci.report.result import RenderedResult
from tests.unit.json_documents import result
from tests.unit.release.conftest import Pipeline
from tests.unit.release.fakes.logs import LoggedWorld
from tests.unit.release.rollout.test_verdict import task

HUNTER = "threat-hunter"


@pytest.fixture
def pipeline(new: Callable[..., Pipeline]) -> Pipeline:
    return new(LoggedWorld)


def world(pipeline: Pipeline) -> LoggedWorld:
    assert isinstance(pipeline.world, LoggedWorld)
    return pipeline.world


@dataclasses.dataclass(frozen=True)
class Stub:
    """Stands in for `Acso`, of which only the place is asked for."""

    where: ReleaseContext

    async def context(self, _: str) -> ReleaseContext:
        return self.where


async def used(
    extension: Callable[[argparse.Namespace], streaming.Handler | None],
    context: ReleaseContext,
    given: Mapping[str, Any],
    **options: bool,
) -> streaming.StreamingResult:
    flags = {"json": False, "follow": False, "watch": True} | options
    handler = extension(argparse.Namespace(**flags))
    assert handler is not None
    acso: Any = Stub(context)
    return await handler(acso, {"env": "staging", **given})


async def test_lines_are_written_as_they_are_read(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    world(pipeline).write(HUNTER, "t1", {"level": "info", "message": "hello"}, -1)
    assert await used(streaming.write_logs, pipeline.context, {"agent": [HUNTER]}) == ""
    out = capsys.readouterr().out
    assert out == "2026-11-24 11:59:59.000  threat-hunter           info     hello\n"
    result = await used(streaming.write_logs, pipeline.context, {}, json=True)
    assert isinstance(result, RenderedResult)
    assert [line["message"] for line in json.loads(result.document)] == ["hello"]
    assert capsys.readouterr().out == ""


async def test_a_one_off_task_s_log_is_output_and_its_exit_code_ours(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    await pipeline.deploy()
    given = {"agent": HUNTER, "args": ["check", "4"]}
    result = await used(streaming.run_task, pipeline.context, given)
    assert isinstance(result, RenderedResult)
    assert (result, result.exit_code) == ("", 4)
    out, err = capsys.readouterr()
    assert out == "check\n4\n"
    assert "task once0 of threat-hunter" in err
    result = await used(streaming.run_task, pipeline.context, given, json=True)
    assert isinstance(result, RenderedResult)
    assert (json.loads(result.document)["log"], result.exit_code) == (["check", "4"], 4)
    assert capsys.readouterr().out == ""


async def test_a_one_off_task_that_never_ran_has_no_exit_code(pipeline: Pipeline) -> None:
    await pipeline.deploy()
    with pytest.raises(TaskFailedError, match="CannotPull"):
        await used(streaming.run_task, pipeline.context, {"agent": HUNTER, "args": ["pull"]})


async def test_watching_tells_what_changes_and_nothing_else(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    await pipeline.deploy()

    async def change() -> None:
        await anyio.sleep(20)
        service = world(pipeline).services[f"acso-staging-{HUNTER}"]
        service.request["desiredCount"] = 2
        await anyio.sleep(20)
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(change)
        await used(streaming.watch_status, pipeline.context, {})
    lines = capsys.readouterr().out.splitlines()
    first, later = lines[:5], lines[5:]
    assert all("healthy, release 2026.11.24-1, revision 1" in line for line in first)
    assert {line.split()[1] for line in later} == {f"{HUNTER}:"}
    assert "tasks 1/2" in later[0]
    assert "2 tasks desired; the record lists 1" in later[0]
    assert "tasks 2/2" in later[-1]


async def test_watching_as_json_writes_a_document_a_change(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    await pipeline.deploy()
    with anyio.move_on_after(30):
        await used(streaming.watch_status, pipeline.context, {}, json=True)
    (document,) = map(json.loads, capsys.readouterr().out.splitlines())
    result("status").validate(document)
    assert document["ok"] is True
    assert document["time"].startswith("2026-11-24T12:00:")


class Terminal:
    """Standard output as a terminal would be, as far as rich asks."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True


async def test_on_a_terminal_the_screen_is_redrawn(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pipeline.deploy()
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with anyio.move_on_after(5):
        await used(streaming.watch_status, pipeline.context, {})
    assert terminal.text.count("release 2026.11.24-1\n") >= 2
    assert "\x1b[" in terminal.text
    assert "Ctrl-C ends" in terminal.text


@pytest.mark.parametrize(("no_color", "colours"), [("", True), ("1", False)])
async def test_colour_is_for_terminals_that_want_it(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, no_color: str, *, colours: bool
) -> None:
    world(pipeline).write(HUNTER, "t1", {"level": "error", "message": "[red]no[/]"}, -1)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    await used(streaming.write_logs, pipeline.context, {})
    assert ("\x1b[3" in terminal.text) is colours
    assert "[red]no[/]" in terminal.text  # what agents write is no markup


async def test_logs_fit_a_narrow_terminal(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    world(pipeline).write(HUNTER, "t1", {"level": "error", "message": "word " * 30}, -1)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    await used(streaming.write_logs, pipeline.context, {})
    lines = re.sub(r"\x1b\[[0-9;]*m", "", terminal.text).splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= 60


def test_each_part_of_a_line_has_its_colour() -> None:
    event = Event(stream="b/b-agent/t", at=0, message='{"level": "error", "message": "m"}')
    text = coloured(logs.line(event), 3, ["a", "b"])
    parts = {text.plain[span.start : span.end]: span.style for span in text.spans}
    assert parts == {"1970-01-01 00:00:00.000": "dim", "b": "magenta", "error": "bold red"}


async def test_ctrl_c_ends_what_is_inside_and_nothing_else() -> None:
    began = anyio.current_time()
    async with until_interrupted():
        await anyio.sleep(1)  # lets the listener begin
        signal.raise_signal(signal.SIGINT)
        await anyio.sleep(1000)
    assert anyio.current_time() - began < 1000


async def test_what_ends_by_itself_does_not_wait_for_ctrl_c() -> None:
    async with until_interrupted():
        await anyio.lowlevel.checkpoint()


async def test_without_the_plugin_nothing_is_begun(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pipeline.deploy()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ExecError, match="needs session-manager-plugin, which is not on PATH"):
        await used(streaming.execute, pipeline.context, {"agent": HUNTER, "args": ["sh"]})
    assert "execute_command" not in pipeline.world.calls


async def test_with_another_endpoint_a_task_is_a_container_of_this_machine(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = dataclasses.replace(pipeline.context, aws=Aws(region="x", endpoint="http://here"))
    asked: list[tuple[str, list[str]]] = []

    async def running_task(_: ReleaseContext, agent: str) -> object:
        assert agent == HUNTER
        return task()

    async def exec_command(id_: str, command: list[str]) -> tuple[str, ...]:
        asked.append((id_, command))
        return ("docker", "exec")

    monkeypatch.setattr(ecs_exec, "running_task", running_task)
    monkeypatch.setattr(container_engine, "exec_command", exec_command)
    found = await used(streaming.execute, context, {"agent": HUNTER, "args": ["sh"]})
    assert found == ReplacementProgram(argv=("docker", "exec"))
    assert asked == [("task8", ["sh"])]


async def test_as_json_a_command_s_output_and_exit_code_are_the_result(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = dataclasses.replace(pipeline.context, aws=Aws(region="x", endpoint="http://here"))

    async def running_task(*_: object) -> object:
        return task()

    async def exec_command(_: str, command: list[str]) -> tuple[str, ...]:
        return tuple(command)

    monkeypatch.setattr(ecs_exec, "running_task", running_task)
    monkeypatch.setattr(container_engine, "exec_command", exec_command)
    given = {"agent": HUNTER, "args": ["sh", "-c", "echo hello; exit 3"]}
    found = await used(streaming.execute, context, given, json=True)
    assert isinstance(found, RenderedResult)
    assert json.loads(found.document) == {"exit_code": 3, "output": "hello\n"}
    assert found.exit_code == 3


async def test_a_task_without_a_container_here_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def find() -> None:
        return None

    monkeypatch.setattr(container_engine, "find", find)
    with pytest.raises(ContainerEngineError, match="no container of task t1 runs on this machine"):
        await container_engine.exec_command("t1", ["sh"])
