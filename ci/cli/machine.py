"""The verbs of this machine: look at it, start and remove what runs here, test, use the engine."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ci.cli.session import ROOT, engine_options
from ci.config import FILE, load
from ci.errors import HostError
from ci.report.progress import stage

if TYPE_CHECKING:
    from ci.engine.prune import PruneResult
    from ci.engine.usage import Usage


def environ() -> Mapping[str, str]:
    """Return the environment of this process."""
    return os.environ


async def doctor(_: argparse.Namespace) -> str | int:
    """Look at what a deployment needs on this machine; nothing is changed.

    The exit code is 0 if everything is there, 4 otherwise.
    """
    from ci.local import stack  # late: Docker's client

    findings = await stack.doctor()
    marks = {"ok": "ok     ", "missing": "missing", "broken": "BROKEN "}
    for item in findings:
        sys.stdout.write(f"{marks[item.state]}  {item.name:<20}{item.detail}\n")
        if item.fix:
            sys.stdout.write(f"{'':<29}fix: {item.fix}\n")
    return HostError.exit_code if any(item.state == "broken" for item in findings) else 0


async def up(_: argparse.Namespace) -> str | int:
    """Start what a deployment needs on this machine: container engine, base image, embedded AWS."""
    from ci.local import stack  # late: Docker's client

    async with stage("up") as span:
        running = await stack.up(span.say)
    return f"embedded AWS at {running.emulator.endpoint}"


async def down(options: argparse.Namespace) -> str | int:
    """Remove everything of ours from this machine: processes, containers, networks, volumes.

    Nothing else is touched. Images and caches stay for the next start unless --cache is given.
    """
    from ci.local import stack  # late: Docker's client

    async with stage("down") as span:
        removed = await stack.down(span.say, cache=options.cache)
        span.result = str(removed)
    return 0


async def selftest(options: argparse.Namespace) -> str | int:
    """Run every test of this repository, real containers and the embedded AWS included.

    Arguments behind `--` go to pytest. Long fault matrices are left out unless --all is given.
    """
    from ci.local import base_image, container_engine  # late: Docker's client

    async with stage("container engine") as span:
        found = await container_engine.ensure(span.say)
    async with stage("base image") as span:
        span.result = (await base_image.ensure(found, span.say)).reference
    chosen = ["-m", ""] if options.all else []
    given = [item for item in options.pytest if item != "--"]
    # Not awaited through a pipe: pytest owns the terminal, and its summary is the last line.
    done = subprocess.run(  # noqa: ASYNC221 (nothing else runs in this process meanwhile)
        [sys.executable, "-m", "pytest", *chosen, *given], cwd=ROOT, check=False
    )
    return done.returncode


async def bench(options: argparse.Namespace) -> str | int:
    """Measure against named peers in one run, and print a table with the ratios.

    engine    the local engine beside `docker build`; parts: uncached, cached, branches, upload,
              memory, check; exit code 1 where a target is missed
    deploys   releases beside ecs-deploy and the AWS CLI on one embedded AWS; --runs N
    services  what watching a hundred services costs
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}  # for the processes of a benchmark too
    command = [sys.executable, "-m", f"tests.bench.{options.what}", *options.parts]
    # Nothing else runs in this process meanwhile.
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode  # noqa: ASYNC221


async def engine(options: argparse.Namespace) -> str | int:
    """Run a command in a session of the local engine, as `dagger run` does with Dagger's.

    acso engine run -- python pipeline.py
    """
    from ci.engine.program import run  # late: the engine
    from ci.local import base_image, container_engine

    command = [item for item in options.argv if item != "--"] if options.argv else []
    if options.action != "run" or not command:
        message = "nothing to run"
        raise HostError(message, hint="acso engine run -- COMMAND [ARGUMENT...]")
    async with stage("container engine") as span:
        found = await container_engine.ensure(span.say)
    async with stage("base image") as span:
        made = await base_image.ensure(found, span.say)
        span.result = made.reference
    images = {load(ROOT / FILE).project.base_image: made.reference}

    def log(line: str) -> None:
        sys.stderr.write(f"engine: {line}\n")

    return await run(engine_options(found, images, log), command)


async def cache(options: argparse.Namespace) -> str | int:
    """Show what the local engine keeps and its size; forget results that were not used for long.

    Without a flag nothing is changed. What a running session of any process has used stays; while
    an engine with another cache runs, images and volumes stay too.
    """
    from ci.engine import prune  # late: the engine
    from ci.local import container_engine

    found = await container_engine.find()
    if found is None:
        message = "no container engine answers, and the cache is half in its images"
        raise HostError(message, hint="acso up")
    where = engine_options(found, {}, lambda _line: None)
    policy = prune.PrunePolicy(
        older_than=options.older_than, keep=options.keep, everything=options.all
    )
    if policy == prune.PrunePolicy():
        return kept(await prune.cache_usage(where), as_json=options.json)
    async with stage("prune") as span:
        gone = await prune.prune_cache(where, policy)
        span.result = prune.format_size(gone.size)
    return forgotten(gone, as_json=options.json)


def kept(used: "Usage", *, as_json: bool) -> str:
    """Return what the cache holds, as text or JSON (pairs of count and bytes)."""
    from ci.engine.prune import format_size

    if as_json:
        return json.dumps(vars(used))
    counts = {kind: pair for kind, pair in vars(used).items() if kind != "sessions"}
    rows = [
        f"{kind:<10}{count:>8}{format_size(size):>12}" for kind, (count, size) in counts.items()
    ]
    total = format_size(sum(size for _, size in counts.values()))
    return "\n".join([*rows, f"{'in all':<10}{total:>20}", f"sessions  {used.sessions:>8}"])


def forgotten(gone: "PruneResult", *, as_json: bool) -> str:
    """Return what a prune took, as text or JSON."""
    from ci.engine.prune import format_size

    if as_json:
        return json.dumps(vars(gone))
    counts = ", ".join(f"{count} {kind}" for kind, count in vars(gone).items() if kind != "size")
    return f"forgot {counts}: {format_size(gone.size)}"


def _measure(name: str) -> Callable[[str], float]:
    """Return what argparse reads a size or an age with."""

    def read(text: str) -> float:
        from ci.engine import prune  # late: the engine

        try:
            found: float = getattr(prune, name)(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        return found

    return read


async def completion(options: argparse.Namespace) -> str | int:
    """Write the completion code of a shell: eval "$(acso completion bash)"."""
    import argcomplete  # late: rarely used

    code: str = argcomplete.shellcode(["acso"], True, options.shell)  # type: ignore[attr-defined]
    return code


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One command that no function of the module stands behind."""

    run: Callable[[argparse.Namespace], Awaitable[str | int]]
    arguments: Callable[[argparse.ArgumentParser], object] = lambda _: None

    @property
    def name(self) -> str:
        """The command."""
        return self.run.__name__

    @property
    def doc(self) -> str:
        """Its help."""
        return "\n".join(line.strip() for line in (self.run.__doc__ or "").splitlines())

    def add(self, parser: argparse.ArgumentParser) -> None:
        """Add its arguments."""
        self.arguments(parser)


def _selftest_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="the long fault matrices too")
    parser.add_argument("pytest", nargs="*", metavar="-- ARGUMENT", help="handed on to pytest")


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    choices = ("engine", "deploys", "services")
    parser.add_argument("what", choices=choices, nargs="?", default="engine", help="which of them")
    parser.add_argument("parts", nargs=argparse.REMAINDER, metavar="ARGUMENT", help="handed on")


def _engine_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("run",), help="what to do")
    parser.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="what to run")


def _cache_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--older-than", type=_measure("age"), metavar="AGE", help="what was unused for 7d, 12h, ..."
    )
    parser.add_argument(
        "--keep",
        type=_measure("size"),
        metavar="SIZE",
        help="as much as does not fit into 5GB, 300MB, ...; unused the longest first",
    )
    parser.add_argument("--all", action="store_true", help="all that no session uses")


VERBS = (
    Verb(run=doctor),
    Verb(run=up),
    Verb(
        run=down,
        arguments=lambda parser: parser.add_argument(
            "--cache",
            action="store_true",
            help="images and caches too, and the container engine if it was started here",
        ),
    ),
    Verb(run=selftest, arguments=_selftest_arguments),
    Verb(run=bench, arguments=_bench_arguments),
    Verb(run=engine, arguments=_engine_arguments),
    Verb(run=cache, arguments=_cache_arguments),
    Verb(
        run=completion,
        arguments=lambda parser: parser.add_argument("shell", choices=("bash", "zsh", "fish")),
    ),
)
