"""Compare the local engine with `docker build`, in one run on one machine: `acso bench engine`.

Every figure is the best of several rounds. Rounds of both alternate, so that other load on the
machine affects both. `docker build` runs the same commands as RUN lines, with BuildKit if this
machine's client has it, otherwise with the classic builder; the table says which.
"""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio
import dagger

from ci import engine
from ci.engine.docker.client import connect
from ci.engine.docker.docker_api import uses_containerd_store
from ci.local import base_image
from ci.local import container_engine as local_docker
from tests.bench.peers import builder, built, imported
from tests.bench.rows import Row, peak_memory, table

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "python:3.11-slim"
LABEL = "acso.instance"
STEPS = 20
BRANCHES = 8
EDITS = 1_000
FILES = 5_000
LARGE_FILES, LARGE_SIZE = 20_000, 1 << 30
PASSED = 200 << 20
ROUNDS = int(os.environ.get("ACSO_BENCH_ROUNDS", "3"))


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Options of an engine with an empty cache, the base image, and a folder for files."""

    options: engine.Options
    image: str
    work: Path
    containerd: bool = False  # images are in Docker's containerd store

    @property
    def program(self) -> list[str]:
        """The command that runs one task of this file in a new process."""
        given = [str(self.options.cache_dir), self.image, self.options.labels[LABEL]]
        return [sys.executable, __file__, *given]


# --- what is measured -------------------------------------------------------------------------
def chain(client: dagger.Client, word: str, steps: int = STEPS) -> dagger.Container:
    """Return a container after a chain of steps, each of which writes a file."""
    c = client.container().from_(IMAGE).with_env_variable("WORD", word)
    for number in range(steps):
        c = c.with_exec(["sh", "-c", f"echo {number} > /f{number}"])
    return c


@asynccontextmanager
async def client(options: engine.Options) -> AsyncIterator[dagger.Client]:
    """Open a session with a connected client."""
    async with engine.serve(options) as session:
        os.environ.update(session.environ())
        async with dagger.Connection(dagger.Config(log_output=None)) as connected:
            yield connected


async def best(work: Callable[[], Awaitable[float]], rounds: int = ROUNDS) -> float:
    """Return the smallest of several measurements."""
    return min([await work() for _ in range(rounds)])


async def uncached(bench: Bench) -> Row:
    """Time a chain that is not cached, and `docker build` with the same commands."""
    ours, peers = [], []
    async with client(bench.options) as connected:
        await connected.container().from_(IMAGE).sync()
        for number in range(ROUNDS):
            started = time.perf_counter()
            await chain(connected, f"{os.getpid()}-{number}").sync()
            ours.append(time.perf_counter() - started)
            peers.append(await anyio.to_thread.run_sync(build, bench, number))
    row = Row(what=f"{STEPS} steps, nothing cached", ours=min(ours), peer=min(peers))
    limit = 0.6 if bench.containerd else 0.5
    met = row.ours <= limit * min(peers)
    return replace(row, against=builder().name, target=f"ratio {limit:.2f}", met=met)


def build(bench: Bench, number: int) -> float:
    """Run the same steps as RUN lines of a Dockerfile; return the seconds."""
    lines = [f"FROM {bench.image}", f"ENV WORD={os.getpid()}-{number}"]
    lines += [f"RUN echo {each} > /f{each}" for each in range(STEPS)]
    return built("\n".join(lines), f"{LABEL}={bench.options.labels[LABEL]}")


async def cached(bench: Bench) -> Row:
    """Time the same chain in a new process with all of it cached, without the client's start."""
    async with client(bench.options) as connected:
        await chain(connected, "cached").sync()
    seconds = await best(partial(_figure, bench, "chain"))
    return Row(
        what=f"{STEPS} steps, all cached, new process",
        ours=seconds,
        target="0.15 s",
        met=seconds <= 0.15,
    )


async def edits(bench: Bench) -> Row:
    """Time many edits of one container and the command that sees them, and a tenth of them."""

    async def edited(connected: dagger.Client, count: int, word: str) -> float:
        c = await connected.container().from_(IMAGE).sync()
        started = time.perf_counter()
        for number in range(count):
            c = c.with_new_file(f"/edits/{number % 50}/{number}", f"{word}{number}")
            if number % 100 == 99:  # the client's own limit: it nests one call in the other
                c = connected.load_container_from_id(dagger.ContainerID(await c.id()))
        seen = await c.with_exec(["sh", "-c", "find /edits -type f | wc -l"]).stdout()
        if int(seen) != count:
            raise SystemExit(f"the command saw {seen.strip()} of {count} edits")
        return time.perf_counter() - started

    async with client(bench.options) as connected:
        few = min([await edited(connected, EDITS // 10, f"few{n} ") for n in range(ROUNDS)])
        many = min([await edited(connected, EDITS, f"many{n} ") for n in range(ROUNDS)])
    return Row(
        what=f"{EDITS} edits, one command",
        ours=many,
        peer=10 * few,
        against="ten times a tenth of them",
        target="ratio 1.00, 3.0 s",
        met=many <= 3 and many <= 10 * few,
    )


async def branches(bench: Bench) -> Row:
    """Time independent branches that run in parallel, and one of them alone."""

    async def run(connected: dagger.Client, count: int, word: str) -> float:
        started = time.perf_counter()
        async with anyio.create_task_group() as group:
            for number in range(count):
                c = connected.container().from_(IMAGE).with_env_variable("N", f"{word}{number}")
                group.start_soon(c.with_exec(["sleep", "1"]).sync)
        return time.perf_counter() - started

    async with client(bench.options) as connected:
        await connected.container().from_(IMAGE).sync()
        alone = min([await run(connected, 1, f"a{each}-") for each in range(ROUNDS)])
        side = min([await run(connected, BRANCHES, f"b{each}-") for each in range(ROUNDS)])
    return Row(
        what=f"{BRANCHES} branches of `sleep 1` at once",
        ours=side,
        peer=BRANCHES * alone,
        against="one after the other",
        target="ratio 0.50",
        met=side <= 0.5 * BRANCHES * alone,
    )


async def upload(bench: Bench) -> Row:
    """Time the upload of many small unchanged files in a new session."""
    source = bench.work / "source"
    for number in range(FILES):
        path = source / f"d{number % 100}" / f"f{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"value = {number}\n" * 20)
    time.sleep(0.2)  # noqa: ASYNC251 (a file just written is always read again, as it may still change)

    async def measured() -> float:
        async with client(bench.options) as connected:
            await connected.version()
            started = time.perf_counter()
            await connected.host().directory(str(source)).sync()
            return time.perf_counter() - started

    first = await measured()
    again = await best(measured)
    return Row(
        what=f"{FILES} files, unchanged, new session",
        ours=again,
        peer=first,
        against="the first time",
        target="0.30 s",
        met=again <= 0.3,
    )


async def large(bench: Bench) -> Row:
    """Time the first upload of a large directory, and `docker import` of the same as an archive."""
    ours, peers = [], []
    for number in range(ROUNDS):
        source = bench.work / f"large-{number}"
        for each in range(LARGE_FILES):
            path = source / f"d{each % 200}" / f"f{each}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(LARGE_SIZE // LARGE_FILES))
        async with client(bench.options) as connected:
            await connected.version()
            started = time.perf_counter()
            await connected.host().directory(str(source)).sync()
            ours.append(time.perf_counter() - started)
        peers.append(await anyio.to_thread.run_sync(imported, source))
        shutil.rmtree(source)
    return Row(
        what=f"{LARGE_FILES} files, {LARGE_SIZE >> 30} GB, first upload",
        ours=min(ours),
        peer=min(peers),
        against="tar | docker import",
        target="ratio 1.25",
        met=min(ours) <= 1.25 * min(peers),
    )


async def memory(bench: Bench) -> Row:
    """Measure the engine's memory while a large directory is uploaded, mounted and exported."""
    source = bench.work / "large"
    source.mkdir()
    for number in range(4):
        with (source / f"f{number}").open("wb") as file:
            for _ in range(PASSED // 4 >> 20):
                file.write(os.urandom(1 << 20))
    megabytes = await _figure(bench, "memory", str(source), str(bench.work / "out"))
    return Row(
        what=f"memory while {PASSED >> 20} MB pass",
        ours=megabytes,
        unit="MB",
        target="150 MB",
        met=megabytes <= 150,
    )


async def check(_: Bench) -> Row:
    """Time `acso check` when all of it is cached."""
    command = [str(ROOT / "acso"), "check"]
    # Without the session of an earlier part.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DAGGER_")}

    async def measured() -> float:
        started = time.perf_counter()
        done = await anyio.run_process(command, check=False, env=environ)
        if done.returncode != 0:
            raise SystemExit(done.stderr.decode(errors="replace")[-2000:])
        return time.perf_counter() - started

    await measured()
    seconds = await best(measured)
    return Row(what="acso check, all cached", ours=seconds, target="2.0 s", met=seconds <= 2)


# --- tasks in their own process ------------------------------------------------------------
async def _figure(bench: Bench, *task: str) -> float:
    done = await anyio.run_process([*bench.program, *task], check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr.decode(errors="replace")[-2000:])
    return float(json.loads(done.stdout))


async def _chain(options: engine.Options) -> float:
    async with client(options) as connected:
        await connected.version()
        started = time.perf_counter()
        await chain(connected, "cached").sync()
        return time.perf_counter() - started


async def _memory(options: engine.Options, source: str, out: str) -> float:
    """Return the peak memory, in MB, of a process that runs only the engine."""
    async with engine.serve(options) as session:
        script = [sys.executable, __file__, "pass", source, out]
        done = await anyio.run_process(script, env={**os.environ, **session.environ()}, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr.decode(errors="replace")[-2000:])
    return peak_memory()


async def _pass(source: str, out: str) -> None:
    """Upload a directory, mount it, copy it, change it and export it."""
    async with dagger.Connection(dagger.Config(log_output=None)) as connected:
        given = connected.host().directory(source)
        c = connected.container().from_(IMAGE).with_mounted_directory("/m", given)
        c = c.with_exec(["sh", "-c", "cp -r /m /copy; echo more > /m/more"])
        c = c.with_directory("/again", given).with_exec(["sh", "-c", "ls /again /copy"])
        await c.directory("/copy").export(out)
        await c.directory("/m").export(out + "-mounted")
        await c.as_tarball().size()


# --- the table --------------------------------------------------------------------------------
PARTS = (uncached, cached, edits, branches, upload, large, memory, check)


@contextmanager
def bench_of(image: str, url: str | None) -> Iterator[Bench]:
    """Create a cache and a folder for one run; remove them, and its images, at the end."""
    with tempfile.TemporaryDirectory(prefix="acso-bench-") as folder:
        work = Path(folder)
        name = f"bench-{os.getpid()}"
        options = engine.Options(
            cache_dir=work / "cache", docker=url, images={IMAGE: image}, labels={LABEL: name}
        )
        try:
            yield Bench(options=options, image=image, work=work, containerd=_containerd(url))
        finally:
            _remove(url, name)


def _containerd(url: str | None) -> bool:
    docker = connect(url)
    try:
        return uses_containerd_store(docker.info())
    finally:
        docker.close()


def _remove(url: str | None, name: str) -> None:
    """Remove a run's images by name: an id cannot be removed before images built on it."""
    docker = connect(url)
    try:
        for each in docker.images(filters={"label": f"{LABEL}={name}"}):
            for tag in each["RepoTags"] or []:
                docker.remove_image(tag, force=True)
    finally:
        docker.close()


async def measure(names: list[str]) -> int:
    """Run the named parts, all by default; return 1 if a target is missed."""
    found = await local_docker.ensure(print)
    image = (await base_image.ensure(found, print)).reference
    rows = []
    with bench_of(image, found.url) as bench:
        for part in PARTS:
            if not names or part.__name__ in names:
                rows.append(await part(bench))
                sys.stderr.write("  ".join(rows[-1].cells()) + "\n")
    sys.stdout.write("\n".join(table(rows)) + "\n")
    return 1 if any(row.met is False for row in rows) else 0


def main(argv: list[str]) -> None:
    """Run the benchmark, or one of the tasks that it measures in their own process."""
    match argv:
        case ["pass", source, out]:
            anyio.run(_pass, source, out)
        case [cache, image, name, "chain"]:
            print(json.dumps(anyio.run(_chain, _options(cache, image, name))))
        case [cache, image, name, "memory", source, out]:
            print(json.dumps(anyio.run(_memory, _options(cache, image, name), source, out)))
        case names:
            sys.exit(anyio.run(measure, names))


def _options(cache: str, image: str, name: str) -> engine.Options:
    return engine.Options(cache_dir=Path(cache), images={IMAGE: image}, labels={LABEL: name})


if __name__ == "__main__":
    main(sys.argv[1:])
