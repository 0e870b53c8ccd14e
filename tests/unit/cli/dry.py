"""The `acso` program in this process, with everything that would start something replaced."""

import datetime
import io
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ci.aws.session import Aws
from ci.cli import laptop, machine, program, session
from ci.cli.help import EPILOG
from ci.cli.program import make_parser
from ci.cli.signatures import Function, from_module
from ci.engine import program as engine_program
from ci.engine import prune
from ci.engine.usage import Usage
from ci.local import base_image, container_engine, paths, stack
from ci.local.doctor import Finding
from ci.pipeline.types import Format
from ci.release.observe import logs
from ci.report.result import RenderedResult

ROOT = Path(__file__).parents[3]
#: The documented exit codes.
CODES = {0, *map(int, re.findall(r"(?m)^ +(\d+)  ", EPILOG))}
NOTHING = (0, 0)
NOON = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.UTC)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command line ended."""

    code: int
    out: str
    err: str


def run(argv: Sequence[str]) -> Ended:
    """Run a command line, inside `dry`."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = program.main(argv)
    return Ended(code=code, out=out.getvalue(), err=err.getvalue())


@contextmanager
def dry(folder: Path) -> Iterator[pytest.MonkeyPatch]:
    """Replace what starts containers, programs and sessions; work in an empty folder."""
    handlers = {it: signal.getsignal(it) for it in (signal.SIGTERM, signal.SIGHUP)}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
            patch.setenv(name, str(folder / name))
        for name in ("DAGGER_SESSION_PORT", "GITHUB_ACTIONS", "_ARGCOMPLETE"):
            patch.delenv(name, raising=False)
        _replace(patch)
        yield patch
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _replace(patch: pytest.MonkeyPatch) -> None:
    parser = make_parser(from_module())
    patch.setattr(program, "make_parser", lambda _: parser)
    patch.setattr(session, "needs_dagger_session", lambda _: False)
    patch.setattr(session, "_prepare", _prepare)
    patch.setattr(session, "_call_function", _call_function)
    patch.setattr(container_engine, "find", _docker)
    patch.setattr(container_engine, "ensure", _docker)
    patch.setattr(base_image, "ensure", _base_image)
    patch.setattr(stack, "doctor", _doctor)
    patch.setattr(stack, "up", _up)
    patch.setattr(laptop, "run_agents", _run_agents)
    patch.setattr(stack, "down", _down)
    patch.setattr(engine_program, "run", _engine_run)
    patch.setattr(paths, "state_id", lambda: "0" * 16)  # the labels of what a session creates
    patch.setattr(prune, "cache_usage", _usage)
    patch.setattr(prune, "prune_cache", _prune)
    patch.setattr(machine, "subprocess", SimpleNamespace(run=_subprocess))


@asynccontextmanager
async def _prepare(*_: object) -> AsyncIterator[dict[str, Any]]:
    yield {}


async def _call_function(function: Function, arguments: Mapping[str, Any], *_: object) -> object:
    if function.name == "logs" and arguments.get("since"):
        logs.moment(arguments["since"], NOON)
    if function.takes("env"):
        # Creates a client, and calls nothing.
        await Aws(region="us-east-1")._run("sts", "get_caller_identity", lambda _: None, {})
    text = "done"
    if arguments.get("format") == Format.JSON.value:
        text = '{"done": true}'
    return RenderedResult(text, document='{"done": true}')


async def _docker(*_: object) -> object:
    return SimpleNamespace(url="unix:///nowhere")


async def _base_image(*_: object, **__: object) -> object:
    return SimpleNamespace(reference="python:3.11-slim@sha256:1")


async def _doctor(**_: object) -> list[Finding]:
    return [Finding(name="Python", state="ok", detail="3.11")]


async def _up(*_: object, **__: object) -> object:
    return SimpleNamespace(emulator=SimpleNamespace(endpoint="http://127.0.0.1:1"))


async def _run_agents() -> int:
    return 0


async def _down(*_: object, **__: object) -> list[str]:
    return []


async def _engine_run(_: object, command: Sequence[str]) -> int:
    if command[0] == "nosuch":
        raise FileNotFoundError(2, "No such file or directory", "nosuch")
    return 0


async def _usage(_: object) -> Usage:
    return Usage(results=NOTHING, contents=NOTHING, images=NOTHING, volumes=NOTHING, sessions=0)


async def _prune(*_: object) -> prune.PruneResult:
    return prune.PruneResult(results=0, contents=0, images=0, volumes=0, size=0)


def _subprocess(command: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess(command, 0)
