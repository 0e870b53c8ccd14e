"""Compare deploys by this pipeline, `ecs-deploy` and the AWS CLI: same images, same embedded AWS.

    ./acso bench deploys [--runs 3] [--tools acso] [--cases 'one of five exits at once']

Prints a table with the median seconds of each tool, how often its exit code was right, and how
often all services ended on one release. The other tools are pinned with hashes in locks/bench.lock
and are installed in their own environment, because they need another botocore.
"""

import argparse
import dataclasses
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
from rich.console import Console
from rich.table import Table

from ci import release
from ci.local import paths, stack
from tests.local.releases.environment import ROOT, World, make

LOCK = ROOT / "locks" / "bench.lock"
PEER_TIMEOUT = 900  # seconds that another tool may take for one service
GRACE = 12  # seconds that a new task may take to become healthy, for all tools alike
BAKE = 30  # seconds to watch a stable release: the default of acso.toml


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """How one deploy ended: seconds, reported success, whether all services run one release."""

    seconds: float
    success: bool
    whole: bool


Images = list[release.Image]
Deploy = Callable[[World, Images], Awaitable[bool]]


# --- the tools ------------------------------------------------------------------------------
async def ours(world: World, images: Images) -> bool:
    """Deploy all services as one release."""
    return (await world.deploy(images)).ok


async def ecs_deploy(world: World, images: Images) -> bool:
    """Deploy one service after the other, as ecs-deploy takes one service per call."""
    results = []
    for image in images:
        agent = world.context.config.agent(image.agent)
        command = [
            "ecs",
            "deploy",
            world.context.outputs.cluster,
            world.context.env.service(agent),
        ]
        # Old revisions are kept, so that every run starts from the same state.
        options = ["--image", agent.container, image.reference, "--no-deregister"]
        results.append(await peer(world, [*command, *options, "--timeout", str(PEER_TIMEOUT)]))
    return all(results)


async def aws_cli(world: World, images: Images) -> bool:
    """Update one service after the other and wait for each, as the CLI's documentation shows."""
    ecs, cluster = world.context.aws.client("ecs"), world.context.outputs.cluster
    results = []
    for image in images:
        service = world.context.env.service(world.context.config.agent(image.agent))
        running = world.services()[service]["taskDefinition"]
        known = ecs.describe_task_definition(taskDefinition=running)["taskDefinition"]
        known["containerDefinitions"][0]["image"] = image.reference
        fields = ecs.meta.service_model.operation_model("RegisterTaskDefinition").input_shape
        request = {name: known[name] for name in known if name in fields.members}
        made = ecs.register_task_definition(**request)["taskDefinition"]["taskDefinitionArn"]
        update = ["aws", "ecs", "update-service", "--cluster", cluster, "--service", service]
        wait = [
            "aws",
            "ecs",
            "wait",
            "services-stable",
            "--cluster",
            cluster,
            "--services",
            service,
        ]
        updated = await peer(world, [*update, "--task-definition", made])
        results.append(updated and await peer(world, wait))
    return all(results)


async def peer(world: World, command: list[str]) -> bool:
    """Run another tool on the embedded AWS; return whether its exit code is 0."""
    environ = {
        "PATH": f"{peers() / 'bin'}:{os.environ['PATH']}",
        "HOME": os.environ["HOME"],
        "AWS_ENDPOINT_URL": str(world.context.aws.endpoint),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": world.context.env.region,
    }
    with anyio.fail_after(PEER_TIMEOUT + 60):
        done = await anyio.run_process(command, env=environ, check=False)
    return done.returncode == 0


TOOLS: dict[str, Deploy] = {"acso": ours, "ecs-deploy": ecs_deploy, "aws cli": aws_cli}


def peers() -> Path:
    """Return the virtual environment of the other tools; create it at its first use."""
    venv = paths.cache_dir() / "bench"
    lock = venv / LOCK.name
    if not lock.exists() or lock.read_bytes() != LOCK.read_bytes():
        uv = shutil.which("uv", path=f"{sys.prefix}/bin:{os.environ['PATH']}") or "uv"
        subprocess.run([uv, "venv", "--quiet", "--clear", str(venv)], check=True)
        install = [uv, "pip", "install", "--quiet", "--require-hashes", "--requirement", str(LOCK)]
        subprocess.run(install, env={**os.environ, "VIRTUAL_ENV": str(venv)}, check=True)
        lock.write_bytes(LOCK.read_bytes())
    return venv


# --- what is measured -----------------------------------------------------------------------
def good(world: World, run: int) -> Images:
    """Return new good images of all agents."""
    return world.images(f"good-{run}")


def unchanged(world: World, run: int) -> Images:
    """Return the images that run already."""
    del run
    return world.images("good")


def crashing(world: World, run: int) -> Images:
    """Return new images, one of which exits immediately."""
    return world.images(f"good-c{run}", threat_hunter="crash")


def sick(world: World, run: int) -> Images:
    """Return new images, one of which always answers 500."""
    return world.images(f"good-s{run}", threat_hunter="sick")


def dying(world: World, run: int) -> Images:
    """Return new images, one of which dies 20 s after its start."""
    return world.images(f"good-d{run}", threat_hunter="later")


def missing(world: World, run: int) -> Images:
    """Return new images, one of which does not exist in the registry."""
    images = world.images(f"good-m{run}")
    absent = f"{images[1].reference.partition('@')[0]}@sha256:{'0' * 64}"
    return [dataclasses.replace(i, reference=absent) if n == 1 else i for n, i in enumerate(images)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """The images to deploy, whether they are good, and our bake time in seconds."""

    images: Callable[[World, int], Images]
    good: bool = False
    bake: int = 0


CASES = {
    "nothing changed": Case(images=unchanged, good=True),
    "five good images": Case(images=good, good=True),
    "one of five exits at once": Case(images=crashing),
    "one of five answers 500": Case(images=sick),
    "one of five has no image": Case(images=missing),
    "one of five dies after 20 s": Case(images=dying, bake=BAKE),
}


async def measure(world: World, tool: str, case: str, run: int) -> Ended:
    """Deploy the good images, then time the deploy of the case."""
    outcome = await world.deploy(world.images("good"))
    if not outcome.ok:
        raise RuntimeError(outcome.text())
    images = CASES[case].images(world, run)
    env = dataclasses.replace(world.context.env, bake_time=CASES[case].bake)
    world = dataclasses.replace(world, context=dataclasses.replace(world.context, env=env))
    began = time.monotonic()
    success = await TOOLS[tool](world, images)
    seconds = time.monotonic() - began
    return Ended(seconds=seconds, success=success, whole=one_release(world, images))


def one_release(world: World, images: Images) -> bool:
    """Return whether the services run all of the new images, or all of the previous ones."""
    ecs = world.context.aws.client("ecs")
    running = set()
    for name, service in world.services().items():
        found = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])
        running.add((name, found["taskDefinition"]["containerDefinitions"][0]["image"]))
    env, config = world.context.env, world.context.config
    return any(
        running == {(env.service(config.agent(i.agent)), i.reference) for i in each}
        for each in (images, world.images("good"))
    )


async def table(runs: int, tools: list[str], cases: list[str]) -> Table:
    """Measure everything and return it as a table; the environment is removed at the end."""
    running = await stack.up(note)
    made = await make(running)
    env = dataclasses.replace(made.context.env, health_grace=GRACE)
    world = dataclasses.replace(made, context=dataclasses.replace(made.context, env=env))
    found: dict[tuple[str, str], list[Ended]] = {}
    try:
        for case in cases:
            for tool in tools:
                for run in range(runs):
                    note(f"{case}: {tool}, run {run + 1}")
                    one = await measure(world, tool, case, run)
                    found.setdefault((case, tool), []).append(one)
    finally:
        world.remove_images()
        await stack.down(note, cache=False)
    return drawn(found, tools)


def drawn(found: dict[tuple[str, str], list[Ended]], tools: list[str]) -> Table:
    """Return the table: medians, ratios to ours, right exit codes, services on one release."""
    made = Table(title="median seconds (ratio to ours); right exit codes; services on one release")
    for column in ("", *tools):
        made.add_column(column)
    for case in dict.fromkeys(name for name, _ in found):
        base = statistics.median(item.seconds for item in found[case, tools[0]])
        cells = []
        for tool in tools:
            ends = found[case, tool]
            seconds = statistics.median(item.seconds for item in ends)
            right = sum(item.success is CASES[case].good for item in ends)
            whole = sum(item.whole for item in ends)
            cells.append(
                f"{seconds:.1f} (x{seconds / base:.1f}); "
                f"right {right}/{len(ends)}; one release {whole}/{len(ends)}"
            )
        made.add_row(case, *cells)
    return made


def note(line: str) -> None:
    """Print a line of progress to standard error."""
    sys.stderr.write(f"{line}\n")


def main() -> None:
    """Parse arguments and measure, in a new instance."""
    parser = argparse.ArgumentParser(
        prog="acso bench deploys", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each deploy (default: 3)")
    parser.add_argument(
        "--tools", nargs="+", choices=TOOLS, default=list(TOOLS), help="tools to compare"
    )
    cases = ", ".join(repr(case) for case in CASES)
    parser.add_argument(
        "--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=cases
    )
    options = parser.parse_args()
    os.environ["ACSO_INSTANCE"] = f"bench-{os.getpid()}"
    Console(width=140).print(anyio.run(table, options.runs, options.tools, options.cases))


if __name__ == "__main__":
    main()
