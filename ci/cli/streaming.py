"""What the command line adds to functions: writing as things happen, and handing over the terminal.

A function of `Acso` returns its text at its end, which is all that `dagger call` can show. Here the
same work is done with somebody looking on: `logs` writes each line as it is read, `--follow` and
`status --watch` go on until Ctrl-C (which is how they end: exit code 0), `run-task` shows the
task's log and ends with its exit code, `exec` hands the terminal to a running task.
"""

import argparse
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
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
from ci.release.observe.status import Status, changes, status
from ci.release.run_task import DEFAULT_TIMEOUT
from ci.release.run_task import run_task as run_once

if TYPE_CHECKING:
    from ci.main import Acso

WATCHED_EVERY = 2.0  # seconds between two looks of `status --watch`
PALETTE = ("cyan", "magenta", "green", "yellow", "blue", "bright_cyan", "bright_magenta")
LEVELS = MappingProxyType({"error": "bold red", "critical": "bold red", "warning": "yellow"})
TIME = 23  # characters of a line's time


@dataclass(frozen=True, kw_only=True)
class Handover:
    """A program that takes this process's place, terminal included."""

    argv: tuple[str, ...]

    def now(self) -> None:
        """Become that program; returns only if it cannot be started."""
        os.execvp(self.argv[0], self.argv)  # noqa: S606


StreamingResult = int | Handover
Use = Callable[["Acso", Mapping[str, Any]], Awaitable[StreamingResult]]


@dataclass(frozen=True, kw_only=True)
class Addition:
    """What stands beside a function on the command line: flags, and what is done with them.

    `use` returns None where the function itself is called. `function` describes a verb that no
    function of the module stands behind.
    """

    use: Callable[[argparse.Namespace], Use | None]
    arguments: Callable[[argparse.ArgumentParser], object] = lambda _: None
    function: Function | None = None


def watch_status(options: argparse.Namespace) -> Use | None:
    """Look at an environment again and again: a screen on a terminal, a line a change elsewhere."""
    if not options.watch:
        return None

    async def use(acso: "Acso", given: Mapping[str, Any]) -> StreamingResult:
        context = await acso.context(given["env"])
        console = Console(highlight=False)
        screen = console.is_terminal and not options.json
        async with until_interrupted():
            await (
                _redrawn(context, console) if screen else _changes(context, as_json=options.json)
            )
        return 0

    return use


def write_logs(options: argparse.Namespace) -> Use:
    """Write lines as they are read: coloured by agent on a terminal, JSON where asked for."""

    async def use(acso: "Acso", given: Mapping[str, Any]) -> StreamingResult:
        context = await acso.context(given["env"])
        wanted = await logs.scope(context, logs.query(given))
        write = _writer(context, as_json=options.json)
        if options.follow:
            async with until_interrupted():
                await logs.follow(context, wanted, write)
        else:
            for line in await logs.read(context, wanted):
                write(line)
        return 0

    return use


def run_task(options: argparse.Namespace) -> Use:
    """Run a one-off task, show its log as it comes, and end with its exit code."""

    async def use(acso: "Acso", given: Mapping[str, Any]) -> StreamingResult:
        context = await acso.context(given["env"])
        ran = await run_once(
            context,
            given["agent"],
            given["args"],
            tell=_quiet if options.json else _out,
            say=_err,
            seconds=given.get("seconds", DEFAULT_TIMEOUT),
        )
        if options.json:
            _out(json.dumps(ran.data(), indent=2))
        if ran.exit_code is None:
            ran.raise_for_failure()
        return int(ran.exit_code or 0)

    return use


def execute(_: argparse.Namespace) -> Use:
    """Hand the terminal over to a command in a running task."""

    async def use(acso: "Acso", given: Mapping[str, Any]) -> StreamingResult:
        context = await acso.context(given["env"])
        task = await ecs_exec.running_task(context, given["agent"])
        if context.aws.endpoint is not None:
            # The embedded AWS has no ECS Exec: its tasks are containers of this machine.
            from ci.local import container_engine  # late: Docker's client

            return Handover(argv=await container_engine.exec_command(task.id, given["args"]))
        if shutil.which(ecs_exec.PLUGIN) is None:
            message = f"there is no {ecs_exec.PLUGIN} on PATH, which ECS Exec needs on this side"
            hint = 'AWS Systems Manager User Guide, "Install the Session Manager plugin"'
            raise ExecError(message, hint=hint)
        return Handover(argv=tuple(await ecs_exec.start_session(context, task, given["args"])))

    return use


@asynccontextmanager
async def until_interrupted() -> AsyncIterator[None]:
    """Do what is inside until it ends, the user presses Ctrl-C, or the reader has gone."""
    async with anyio.create_task_group() as group:

        async def listen() -> None:
            with anyio.open_signal_receiver(signal.SIGINT) as signals:
                async for _ in signals:
                    group.cancel_scope.cancel()

        group.start_soon(listen)
        try:
            yield
        except BrokenPipeError:
            # Python flushes once more at exit, into nothing.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        group.cancel_scope.cancel()


async def _redrawn(context: ReleaseContext, console: Console) -> None:
    with Live(console=console, auto_refresh=False) as screen:
        while True:
            found = await status(context)
            at = context.clock.now().strftime("%H:%M:%S")
            screen.update(Text(f"{found.text()}\n  {at} UTC, Ctrl-C ends", no_wrap=True))
            screen.refresh()
            await context.clock.sleep(WATCHED_EVERY)


async def _changes(context: ReleaseContext, *, as_json: bool) -> None:
    before: Status | None = None
    while True:
        found = await status(context)
        at = context.clock.now()
        if as_json and found != before:
            _out(json.dumps({"time": at.isoformat(timespec="milliseconds"), **found.data()}))
        elif not as_json:
            for line in changes(before, found):
                _out(f"{at:%H:%M:%S}  {line}")
        before = found
        await context.clock.sleep(WATCHED_EVERY)


def _writer(context: ReleaseContext, *, as_json: bool) -> Callable[[logs.Line], None]:
    """Return what writes a line to standard output."""
    if as_json:
        return lambda line: _out(json.dumps(line.data(), ensure_ascii=False))
    names = [agent.name for agent in context.config.agents]
    width = max(map(len, names))
    console = Console(highlight=False)  # honours NO_COLOR
    if not console.is_terminal:
        return lambda line: _out(line.text(width))
    return lambda line: console.print(coloured(line, width, names), soft_wrap=True)


def coloured(line: logs.Line, width: int, names: list[str]) -> Text:
    """Return a line as a terminal shows it: each agent in a colour of its own."""
    text = Text(line.text(width))
    number = names.index(line.agent) if line.agent in names else 0
    agent, level = TIME + 2, TIME + 4 + width
    text.stylize("dim", 0, TIME)
    text.stylize(PALETTE[number % len(PALETTE)], agent, agent + len(line.agent))
    text.stylize(LEVELS.get(line.level, ""), level, level + len(line.level))
    return text


def _out(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _err(text: str) -> None:
    sys.stderr.write(f"   {text}\n")
    sys.stderr.flush()


def _quiet(_: str) -> None:
    """Say nothing: the JSON at the end holds it."""


def _watch_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--watch", action="store_true", help="look again and again, until Ctrl-C")


def _follow_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--follow", action="store_true", help="go on as lines come, until Ctrl-C")


EXEC = Function(
    name="exec",
    doc="""Run a command in a running task of an agent, with this terminal.

acso exec --env staging --agent supervisor -- sh

On AWS this is ECS Exec: the environment needs ecs_exec = true in acso.toml, this machine the
Session Manager plugin. A task of the embedded AWS is a container here, entered through Docker.""",
    parameters=(
        Parameter(name="env", doc="Environment of acso.toml.", kind="text", required=True),
        Parameter(name="agent", doc="Whose newest task.", kind="text", required=True),
        Parameter(name="args", doc="The command.", kind="texts", required=True),
    ),
)
#: By name of the function.
ADDITIONS: Mapping[str, Addition] = MappingProxyType(
    {
        "status": Addition(use=watch_status, arguments=_watch_flag),
        "logs": Addition(use=write_logs, arguments=_follow_flag),
        "run_task": Addition(use=run_task),
        "exec": Addition(use=execute, function=EXEC),
    }
)
