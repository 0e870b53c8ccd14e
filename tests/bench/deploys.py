"""Deploys compared: this pipeline, `ecs-deploy` and the AWS CLI, on one embedded AWS, same images.

    ./acso bench deploys [--runs 3] [--tools acso] [--cases 'one of five exits at once']

Prints a table of median seconds with the verdict that each tool's exit code gives, and whether the
five services ended on one release. The peers, pinned with hashes in locks/bench.lock, live in an
environment of their own: they need another botocore than the embedded AWS.
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
PATIENCE = 900  # seconds that a peer may take for one service
GRACE = 12  # seconds that a new task may take to become healthy, for all tools alike
BAKE = 30  # seconds of watching after a release is stable: acso.toml's default


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """How one deploy ended: seconds, whether it said success, whether it left one release."""

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
    """Deploy one service after the other: the tool takes one a call."""
    results = []
    for image in images:
        agent = world.context.config.agent(image.agent)
        command = [
            "ecs",
            "deploy",
            world.context.outputs.cluster,
            world.context.environment.service(agent),
        ]
        # Kept revisions, so that each run begins with the same.
        options = ["--image", agent.container, image.reference, "--no-deregister"]
        results.append(await peer(world, [*command, *options, "--timeout", str(PATIENCE)]))
    return all(results)


async def aws_cli(world: World, images: Images) -> bool:
    """Update one service after the other and wait for each, as the CLI's documentation shows."""
    ecs, cluster = world.context.aws.client("ecs"), world.context.outputs.cluster
    results = []
    for image in images:
        service = world.context.environment.service(world.context.config.agent(image.agent))
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
    """Run a peer's program on the embedded AWS; tell whether its exit code is 0."""
    environ = {
        "PATH": f"{peers() / 'bin'}:{os.environ['PATH']}",
        "HOME": os.environ["HOME"],
        "AWS_ENDPOINT_URL": str(world.context.aws.endpoint),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": world.context.environment.region,
    }
    with anyio.fail_after(PATIENCE + 60):
        done = await anyio.run_process(command, env=environ, check=False)
    return done.returncode == 0


TOOLS: dict[str, Deploy] = {"acso": ours, "ecs-deploy": ecs_deploy, "aws cli": aws_cli}


def peers() -> Path:
    """Return the environment of the peers, made at its first use."""
    context = paths.cache_dir() / "bench"
    if (
        not (context / LOCK.name).exists()
        or (context / LOCK.name).read_bytes() != LOCK.read_bytes()
    ):
        uv = shutil.which("uv", path=f"{sys.prefix}/bin:{os.environ['PATH']}") or "uv"
        subprocess.run([uv, "venv", "--quiet", "--clear", str(context)], check=True)
        install = [uv, "pip", "install", "--quiet", "--require-hashes", "--requirement", str(LOCK)]
        subprocess.run(install, env={**os.environ, "VIRTUAL_ENV": str(context)}, check=True)
        (context / LOCK.name).write_bytes(LOCK.read_bytes())
    return context


# --- what is measured -----------------------------------------------------------------------
def good(world: World, run: int) -> Images:
    """Return new good images for all five."""
    return world.images(f"good-{run}")


def unchanged(world: World, run: int) -> Images:
    """Return what runs already."""
    del run
    return world.images("good")


def crashing(world: World, run: int) -> Images:
    """Return new images, one of which exits at once."""
    return world.images(f"good-c{run}", threat_hunter="crash")


def sick(world: World, run: int) -> Images:
    """Return new images, one of which answers 500 for ever."""
    return world.images(f"good-s{run}", threat_hunter="sick")


def dying(world: World, run: int) -> Images:
    """Return new images, one of which is killed 20 s after its start."""
    return world.images(f"good-d{run}", threat_hunter="later")


def missing(world: World, run: int) -> Images:
    """Return new images, one of which no registry has."""
    images = world.images(f"good-m{run}")
    absent = f"{images[1].reference.partition('@')[0]}@sha256:{'0' * 64}"
    return [dataclasses.replace(i, reference=absent) if n == 1 else i for n, i in enumerate(images)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """What is deployed, whether success is the truth, and for how long ours looks on (seconds)."""

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
    """Bring the environment to the good images, then time one deploy."""
    outcome = await world.deploy(world.images("good"))
    if not outcome.ok:
        raise RuntimeError(outcome.text())
    images = CASES[case].images(world, run)
    env = dataclasses.replace(world.context.environment, bake_time=CASES[case].bake)
    world = dataclasses.replace(world, context=dataclasses.replace(world.context, environment=env))
    began = time.monotonic()
    success = await TOOLS[tool](world, images)
    seconds = time.monotonic() - began
    return Ended(seconds=seconds, success=success, whole=one_release(world, images))


def one_release(world: World, images: Images) -> bool:
    """Tell whether the services run all of the new images, or all of those before."""
    ecs = world.context.aws.client("ecs")
    running = set()
    for name, service in world.services().items():
        found = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])
        running.add((name, found["taskDefinition"]["containerDefinitions"][0]["image"]))
    env, config = world.context.environment, world.context.config
    return any(
        running == {(env.service(config.agent(i.agent)), i.reference) for i in each}
        for each in (images, world.images("good"))
    )


async def table(runs: int, tools: list[str], cases: list[str]) -> Table:
    """Measure everything and return it as a table; the environment is removed at the end."""
    running = await stack.up(note)
    made = await make(running)
    env = dataclasses.replace(made.context.environment, health_grace=GRACE)
    world = dataclasses.replace(made, context=dataclasses.replace(made.context, environment=env))
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
    """Return the medians with each tool's ratio to ours, verdicts, and what was left."""
    made = Table(title="seconds, median (how often ours); verdict; services left on one release")
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
                f"right {right}/{len(ends)}; whole {whole}/{len(ends)}"
            )
        made.add_row(case, *cells)
    return made


def note(line: str) -> None:
    """Say what is being done, beside the table."""
    sys.stderr.write(f"{line}\n")


def main() -> None:
    """Measure in an instance of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3, help="of each deploy (default: 3)")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    options = parser.parse_args()
    os.environ["ACSO_INSTANCE"] = f"bench-{os.getpid()}"
    Console(width=140).print(anyio.run(table, options.runs, options.tools, options.cases))


if __name__ == "__main__":
    main()
