"""Commands for this machine: check it, start and remove the local stack, tests, engine, cache."""

import argparse
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ci.cli.session import ROOT, engine_options
from ci.common import tables
from ci.config import FILE, load
from ci.errors import HostError, UsageError
from ci.report.progress import stage
from ci.report.result import RenderedResult

if TYPE_CHECKING:
    from ci.engine.prune import PruneResult
    from ci.engine.usage import Usage


MARKS = {"ok": "ok     ", "missing": "missing", "broken": "BROKEN "}


def _base_image() -> str:
    return load(ROOT / FILE).project.base_image


async def doctor(_: argparse.Namespace) -> str | int:
    """Check that this machine has what a deployment needs; changes nothing.

    missing: `acso up` or `acso deploy` creates or starts it, or a deployment works without it.
    BROKEN: it has to be fixed by hand, as shown below it. The exit code is 4 if anything is broken,
    0 otherwise.
    """
    from ci.local import stack  # late: Docker's client

    findings = await stack.doctor(base=_base_image())
    broken = any(item.state == "broken" for item in findings)
    lines: list[str] = []
    width = tables.terminal_width()
    for item in findings:
        lines += tables.folded(f"{MARKS[item.state]}  {item.name:<20}{item.detail}", width=width)
        lines += tables.folded(f"fix: {item.fix}", width=width, indent=" " * 9) * bool(item.fix)
    return RenderedResult(
        "\n".join(lines),
        document=json.dumps({"ok": not broken, "findings": [vars(item) for item in findings]}),
        exit_code=HostError.exit_code if broken else 0,
    )


async def up(options: argparse.Namespace) -> str | int:
    """Start what a deployment needs on this machine: container engine, base image, embedded AWS.

    What already runs is used as it is. `acso deploy` does the same by itself. The base image stays
    the same until --renew is given; a new one changes the version of every agent.

    With --agents, run the agents in one process without ECS, with their state and tokens in the
    embedded AWS, until Ctrl-C. A change of their code starts them again.
    """
    if options.agents:
        from ci.cli.laptop import run_agents  # late: Docker's client

        return await run_agents()
    from ci.local import stack  # late: Docker's client

    async with stage("up") as span:
        running = await stack.up(span.say, base=_base_image(), renew=options.renew)
    endpoint = running.emulator.endpoint
    return RenderedResult(
        f"embedded AWS at {endpoint}", document=json.dumps({"endpoint": endpoint})
    )


async def down(options: argparse.Namespace) -> str | int:
    """Remove the local stack from this machine: its processes, containers, networks and volumes.

    Only what acso created is removed. Images and caches are kept for the next start unless
    --cache is given.
    """
    from ci.local import stack  # late: Docker's client

    async with stage("down") as span:
        removed = await stack.down(span.say, cache=options.cache)
        span.result = str(removed)
    return 0


async def selftest(options: argparse.Namespace) -> str | int:
    """Run all tests of this repository, including those with containers and the embedded AWS.

    Arguments after `--` go to pytest. Long fault matrices are skipped unless --all is given.
    """
    from ci.local import base_image, container_engine  # late: Docker's client

    async with stage("container engine") as span:
        found = await container_engine.ensure(span.say)
    async with stage("base image") as span:
        span.result = (await base_image.ensure(found, span.say, name=_base_image())).reference
    selection = ["-m", ""] if options.all else []
    arguments = [item for item in options.pytest if item != "--"]
    # Some tests wait for containers, others compute: two processes take a third less time than one.
    parallel = [] if arguments else ["--numprocesses=2", "--dist=loadscope"]
    # Not run through a pipe: pytest writes to the terminal itself; its summary is the last line.
    done = subprocess.run(  # noqa: ASYNC221 (nothing else runs in this process meanwhile)
        [sys.executable, "-m", "pytest", *parallel, *selection, *arguments], cwd=ROOT, check=False
    )
    return done.returncode


async def bench(options: argparse.Namespace) -> str | int:
    """Run a benchmark and print its figures as a table.

    engine    Compare the local engine with `docker build`; exit code 1 if a target is missed.
              Arguments: parts to run (uncached, cached, branches, upload, memory, check).
    deploys   Compare releases with ecs-deploy and the AWS CLI.
              Arguments: --runs N, --tools TOOL ..., --cases CASE ...
    services  Measure time and memory of watching many services.
              Argument: the number of services (default: 100).
    agents    Measure deployed agents under load, and one request with 100,000 events.
              Arguments: --rate 50, --seconds 30, --agents AGENT ...
    """
    if options.benchmark is None:  # they run for minutes, so none is the default
        message = "name a benchmark: engine, deploys, services or agents"
        raise UsageError(message, hint="./acso bench --help")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}  # also for processes of the benchmark
    command = [sys.executable, "-m", f"tests.bench.{options.benchmark}", *options.arguments]
    # Nothing else runs in this process meanwhile.
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode  # noqa: ASYNC221


async def engine(options: argparse.Namespace) -> str | int:
    """Run a command in a session of the local engine, as `dagger run` does with a Dagger engine."""
    from ci.engine.program import run  # late: the engine
    from ci.local import base_image, container_engine

    command = [item for item in options.argv if item != "--"] if options.argv else []
    if options.action != "run" or not command:
        message = "`acso engine run` needs a command to run"
        raise UsageError(message, hint="acso engine run -- COMMAND [ARGUMENT...]")
    async with stage("container engine") as span:
        found = await container_engine.ensure(span.say)
    async with stage("base image") as span:
        image = await base_image.ensure(found, span.say, name=_base_image())
        span.result = image.reference
    images = {_base_image(): image.reference}

    def log(line: str) -> None:
        sys.stderr.write(f"engine: {line}\n")

    try:
        return await run(engine_options(found, images, log), command)
    except OSError as error:
        message = f"cannot run {command[0]}: {error.strerror}"
        raise UsageError(message, hint="acso engine run -- COMMAND [ARGUMENT...]") from None


async def cache(options: argparse.Namespace) -> str | int:
    """Show the size of the local engine's cache, or remove results that are no longer needed.

    Without a flag, nothing is removed. Results used by a running session, of this or another
    process, are always kept. Images and volumes are also kept while an engine with another cache
    directory is running.
    """
    from ci.engine import Options, prune  # late: the engine
    from ci.local import container_engine, paths

    found = await container_engine.find()
    if found is None:
        message = "no container engine answers; the cache keeps images and volumes there"
        raise HostError(message, hint="./acso up")
    where = Options(cache_dir=paths.cache_dir() / "engine", docker=found.url)
    policy = prune.PrunePolicy(
        older_than=options.older_than, keep=options.keep, everything=options.all
    )
    if policy == prune.PrunePolicy():
        return render_usage(await prune.cache_usage(where), as_json=options.json)
    async with stage("prune") as span:
        gone = await prune.prune_cache(where, policy)
        span.result = prune.format_size(gone.size)
    return render_pruned(gone, as_json=options.json)


def render_usage(used: "Usage", *, as_json: bool) -> str:
    """Return the cache's contents as text or JSON; in JSON, each kind is [count, bytes]."""
    from ci.engine.prune import format_size

    if as_json:
        return json.dumps(vars(used))
    counts = {kind: pair for kind, pair in vars(used).items() if kind != "sessions"}
    rows = [
        f"{kind:<10}{count:>8}{format_size(size):>12}" for kind, (count, size) in counts.items()
    ]
    total = format_size(sum(size for _, size in counts.values()))
    return "\n".join([*rows, f"{'total':<10}{total:>20}", f"sessions  {used.sessions:>8}"])


def render_pruned(gone: "PruneResult", *, as_json: bool) -> str:
    """Return what was removed from the cache, as text or JSON."""
    from ci.engine.prune import format_size

    if as_json:
        return json.dumps(vars(gone))
    counts = ", ".join(f"{count} {kind}" for kind, count in vars(gone).items() if kind != "size")
    return f"removed {counts}: {format_size(gone.size)}"


def _quantity(name: str) -> Callable[[str], float]:
    """Return the argparse type of a quantity: `size` in bytes or `age` in seconds."""

    def read(text: str) -> float:
        from ci.engine import prune  # late: the engine

        try:
            found: float = getattr(prune, name)(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        return found

    return read


async def completion(options: argparse.Namespace) -> str | int:
    """Print the completion code for a shell; to use it: eval "$(acso completion bash)"."""
    import argcomplete  # late: rarely used

    code: str = argcomplete.shellcode(["acso"], True, options.shell)  # type: ignore[attr-defined]
    return code


@dataclass(frozen=True, kw_only=True)
class HostCommand:
    """A command that is no function of the module: it exists in `acso` alone."""

    run: Callable[[argparse.Namespace], Awaitable[str | int]]
    arguments: Callable[[argparse.ArgumentParser], object] = lambda _: None

    @property
    def name(self) -> str:
        """The command's name."""
        return self.run.__name__

    @property
    def doc(self) -> str:
        """The command's help."""
        return inspect.getdoc(self.run) or ""

    def add(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments to its parser."""
        self.arguments(parser)


def _up_arguments(parser: argparse.ArgumentParser) -> None:
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--renew",
        action="store_true",
        help="pull or build the base image again, with what is published today",
    )
    choice.add_argument(
        "--agents",
        action="store_true",
        help="run the agents on this machine without ECS, and print their addresses and a token",
    )


def _selftest_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="also run the long fault matrices")
    parser.add_argument("pytest", nargs="*", metavar="-- ARGUMENT", help="passed to pytest")


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    choices = ("engine", "deploys", "services", "agents")
    parser.add_argument(
        "benchmark",
        choices=choices,
        metavar="BENCHMARK",
        nargs="?",
        help=f"the benchmark to run: {', '.join(choices)}",
    )
    parser.add_argument(
        "arguments", nargs=argparse.REMAINDER, metavar="ARGUMENT", help="passed to the benchmark"
    )


def _engine_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("run",), help="run a command in a session")
    parser.add_argument(
        "argv", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="the command and its arguments"
    )


def _cache_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--older-than",
        type=_quantity("age"),
        metavar="AGE",
        help="remove results not used for this long: 7d, 12h, ...",
    )
    parser.add_argument(
        "--keep",
        type=_quantity("size"),
        metavar="SIZE",
        help="remove least recently used results until this size is reached: 5GB, 300MB, ...",
    )
    parser.add_argument("--all", action="store_true", help="remove everything that no session uses")


HOST_COMMANDS = (
    HostCommand(run=doctor),
    HostCommand(run=up, arguments=_up_arguments),
    HostCommand(
        run=down,
        arguments=lambda parser: parser.add_argument(
            "--cache",
            action="store_true",
            help="also remove the caches of all instances with the images made from them, and "
            "stop the container engine if acso started it and nothing else runs in it",
        ),
    ),
    HostCommand(run=selftest, arguments=_selftest_arguments),
    HostCommand(run=bench, arguments=_bench_arguments),
    HostCommand(run=engine, arguments=_engine_arguments),
    HostCommand(run=cache, arguments=_cache_arguments),
    HostCommand(
        run=completion,
        arguments=lambda parser: parser.add_argument(
            "shell", choices=("bash", "zsh", "fish"), help="the shell that you use"
        ),
    ),
)
