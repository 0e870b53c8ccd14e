"""Commands that print while they run, or that give the terminal to another program.

A function of `Acso` returns its text when it ends; `dagger call` shows nothing before. In `acso`,
`logs` prints each line as it is read, `--follow` and `status --watch` continue until Ctrl-C (and
then end with exit code 0), `run-task` prints the task's log and ends with the task's exit code, and
`exec` connects the terminal to a running task.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import anyio
from rich.console import Console
from rich.live import Live
from rich.text import Text

from ci.cli.signatures import Function, Parameter
from ci.errors import ExecError
from ci.release.model import ReleaseContext
from ci.release.observe import ecs_exec, logs
from ci.release.observe.status import Status, changes, lasting, status
from ci.release.run_task import DEFAULT_TIMEOUT
from ci.release.run_task import run_task as run_once
from ci.report import streams
from ci.report.result import RenderedResult
from ci.report.streams import ReaderGoneError

if TYPE_CHECKING:
    from ci.main import Acso

WATCH_INTERVAL = 2.0  # seconds between two requests of `status --watch`
PALETTE = ("cyan", "magenta", "green", "yellow", "blue", "bright_cyan", "bright_magenta")
LEVELS = MappingProxyType({"error": "bold red", "critical": "bold red", "warning": "yellow"})
TIME_WIDTH = 23  # characters of the time at the start of a log line


@dataclass(frozen=True, kw_only=True)
class ReplacementProgram:
    """A program that replaces this process and takes over its terminal."""

    argv: tuple[str, ...]

    def execute(self) -> None:
        """Replace this process; raises `OSError` if the program cannot be started."""
        os.execvp(self.argv[0], self.argv)  # noqa: S606


StreamingResult = int | RenderedResult | ReplacementProgram
Handler = Callable[["Acso", Mapping[str, Any]], Awaitable[StreamingResult]]


@dataclass(frozen=True, kw_only=True)
class CommandExtension:
    """What `acso` adds to a command: flags, and a handler that runs in place of the function.

    `handler` returns None if the function itself is to be called. `function` describes the command
    if the module has no such function.
    """

    handler: Callable[[argparse.Namespace], Handler | None]
    arguments: Callable[[argparse.ArgumentParser], object] = lambda _: None
    function: Function | None = None


def watch_status(options: argparse.Namespace) -> Handler | None:
    """Show an environment's status until Ctrl-C: redrawn on a terminal, otherwise its changes."""
    if not options.watch:
        return None

    async def handle(acso: "Acso", given: Mapping[str, Any]) -> StreamingResult:
        context = await acso.context(given["env"])
        console = Console(highlight=False)
        screen = console.is_terminal and not options.json
        async with until_interrupted():
            await (
                _redraw(context, console)
                if screen
                else _print_changes(context, as_json=options.json)
            )
        return 0

    return handle


def write_logs(options: argparse.Namespace) -> Handler:
    """Print log lines as they are read: coloured by agent on a terminal, JSON with `--json`."""

    async def handle(acso: "Acso", given: Mapping[str, Any]) -> StreamingResult:
        context = await acso.context(given["env"])
        wanted = await logs.scope(context, logs.query(given))
        write = _writer(context, as_json=options.json)
        if options.follow:
            async with until_interrupted():
                await logs.follow(context, wanted, write)
            return 0
        lines = await logs.read(context, wanted)
        for line in [] if options.json else lines:
            write(line)
        return _printed([line.data() for line in lines])

    return handle


def run_task(options: argparse.Namespace) -> Handler:
    """Run a one-off task, print its log as it arrives, and end with its exit code."""

    async def handle(acso: "Acso", given: Mapping[str, Any]) -> StreamingResult:
        context = await acso.context(given["env"])
        result = await run_once(
            context,
            given["agent"],
            given["args"],
            tell=_discard if options.json else _print,
            say=_print_progress,
            seconds=given.get("seconds", DEFAULT_TIMEOUT),
        )
        if result.exit_code is None:
            result.raise_for_failure()
        return _printed(result.data(), exit_code=int(result.exit_code or 0))

    return handle


def execute(options: argparse.Namespace) -> Handler:
    """Run a command in a running task, connected to this terminal; with --json, not connected."""

    async def handle(acso: "Acso", given: Mapping[str, Any]) -> StreamingResult:
        context = await acso.context(given["env"])
        argv = await _exec_command(context, given["agent"], given["args"])
        if options.json:
            return await _captured(argv)
        return ReplacementProgram(argv=argv)

    return handle


async def _exec_command(
    context: ReleaseContext, agent: str, command: Sequence[str]
) -> tuple[str, ...]:
    task = await ecs_exec.running_task(context, agent)
    if context.aws.endpoint is not None:
        # The embedded AWS has no ECS Exec; its tasks are containers on this machine.
        from ci.local import container_engine  # late: Docker's client

        return await container_engine.exec_command(task.id, command)
    if shutil.which(ecs_exec.PLUGIN) is None:
        message = f"ECS Exec needs {ecs_exec.PLUGIN}, which is not on PATH"
        hint = 'see "Install the Session Manager plugin" in the AWS Systems Manager User Guide'
        raise ExecError(message, hint=hint)
    return tuple(await ecs_exec.start_session(context, task, list(command)))


async def _captured(argv: Sequence[str]) -> RenderedResult:
    """Run a program without input; return its exit code and what it wrote to standard output."""
    done = await anyio.run_process(list(argv), stdin=subprocess.DEVNULL, stderr=None, check=False)
    output = done.stdout.decode(errors="backslashreplace")
    return _printed({"exit_code": done.returncode, "output": output}, exit_code=done.returncode)


def _printed(data: object, *, exit_code: int = 0) -> RenderedResult:
    """Return a result whose text was printed while the command ran."""
    return RenderedResult("", document=json.dumps(data), exit_code=exit_code)


@asynccontextmanager
async def until_interrupted() -> AsyncIterator[None]:
    """Cancel the block when the user presses Ctrl-C or the reader of the output has gone."""
    async with anyio.create_task_group() as group:

        async def listen() -> None:
            with anyio.open_signal_receiver(signal.SIGINT) as signals:
                async for _ in signals:
                    group.cancel_scope.cancel()

        group.start_soon(listen)
        with suppress(ReaderGoneError):
            yield
        group.cancel_scope.cancel()


async def _redraw(context: ReleaseContext, console: Console) -> None:
    with Live(console=console, auto_refresh=False) as screen:
        while True:
            found = await status(context)
            at = context.clock.now().strftime("%H:%M:%S")
            screen.update(Text(f"{found.text()}\n  {at} UTC, Ctrl-C ends", no_wrap=True))
            screen.refresh()
            await context.clock.sleep(WATCH_INTERVAL)


async def _print_changes(context: ReleaseContext, *, as_json: bool) -> None:
    before: Status | None = None
    while True:
        found = await status(context)
        at = context.clock.now()
        if as_json and (before is None or lasting(found) != lasting(before)):
            _print(json.dumps({"time": at.isoformat(timespec="milliseconds"), **found.data()}))
        elif not as_json:
            for line in changes(before, found):
                _print(f"{at:%H:%M:%S}  {line}")
        before = found
        await context.clock.sleep(WATCH_INTERVAL)


def _writer(context: ReleaseContext, *, as_json: bool) -> Callable[[logs.Line], None]:
    """Return a function that prints a log line."""
    if as_json:
        return lambda line: _print(json.dumps(line.data(), ensure_ascii=False))
    names = [agent.name for agent in context.config.agents]
    width = max(map(len, names))
    console = Console(highlight=False)  # respects NO_COLOR
    if not console.is_terminal:
        return lambda line: _print(line.text(width))
    return lambda line: console.print(coloured(line, width, names, console.width), soft_wrap=True)


def coloured(line: logs.Line, width: int, names: list[str], columns: int = 0) -> Text:
    """Return a log line for a terminal: time dimmed, each agent in its own colour."""
    text = Text(line.text(width, columns))
    number = names.index(line.agent) if line.agent in names else 0
    agent, level = TIME_WIDTH + 2, TIME_WIDTH + 4 + width
    text.stylize("dim", 0, TIME_WIDTH)
    text.stylize(PALETTE[number % len(PALETTE)], agent, agent + len(line.agent))
    text.stylize(LEVELS.get(line.level, ""), level, level + len(line.level))
    return text


def _print(text: str) -> None:
    streams.write(text)


def _print_progress(text: str) -> None:
    sys.stderr.write(f"   {text}\n")
    sys.stderr.flush()


def _discard(_: str) -> None:
    """Print nothing: the JSON document at the end has these lines."""


def _watch_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--watch", action="store_true", help="show every change until Ctrl-C")


def _follow_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--follow", action="store_true", help="wait for new lines until Ctrl-C")


EXEC = Function(
    name="exec",
    doc="""Run a command in a running task of an agent, connected to this terminal.

On AWS this uses ECS Exec: the environment needs ecs_exec = true in acso.toml, and this machine
needs the Session Manager plugin. On the embedded AWS, `docker exec` runs the command in the task's
container.""",
    parameters=(
        Parameter(
            name="env",
            doc="Environment of acso.toml: development, staging or production.",
            kind="text",
            required=True,
        ),
        Parameter(
            name="agent",
            doc="Agent; the command runs in its newest task.",
            kind="text",
            required=True,
        ),
        Parameter(name="args", doc="The command and its arguments.", kind="texts", required=True),
    ),
)
#: By the name of the function.
EXTENSIONS: Mapping[str, CommandExtension] = MappingProxyType(
    {
        "status": CommandExtension(handler=watch_status, arguments=_watch_flag),
        "logs": CommandExtension(handler=write_logs, arguments=_follow_flag),
        "run_task": CommandExtension(handler=run_task),
        "exec": CommandExtension(handler=execute, function=EXEC),
    }
)
