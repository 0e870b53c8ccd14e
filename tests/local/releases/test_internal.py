"""Releases behind a load balancer that this machine does not reach; tasks do.

Slow, because containers start and stop.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import MappingProxyType

import pytest

from ci import config as configuration
from ci import release
from ci.aws import ecs, elb
from ci.aws.probing.channel import PARTITION
from ci.config import LoadBalancer
from ci.local import stack
from ci.pipeline import environments
from ci.pipeline.probing import probing
from ci.release import Outcome, OutcomeKind, ReleaseOptions
from ci.release.probing.inside import InsideProbe
from tests.local.aws import eventually
from tests.local.releases.environment import REQUEST, ROOT, World, make

pytestmark = pytest.mark.docker
NAME = "inside"
FAMILY = f"acso-{NAME}-_probe"
#: Agents that call no others; two are enough.
AGENTS = ("threat-hunter", "incident-response")
NOWHERE = "http://127.0.0.1:9/balancer"  # the port of "discard", where nothing listens


@pytest.fixture
async def inside(world: World) -> AsyncIterator[World]:
    """An environment whose load balancer this machine does not reach."""
    config = configuration.load(ROOT / "tests" / configuration.FILE)
    env = replace(
        config.environment("development"), name=NAME, load_balancer=LoadBalancer(internal=True)
    )
    config = replace(
        config,
        agents=tuple(config.agent(name) for name in AGENTS),
        environments=MappingProxyType({**config.environments, NAME: env}),
    )
    made = await make(await stack.up(print), NAME, config)
    assert made.emulator == world.emulator
    outputs = replace(made.context.outputs, url=NOWHERE)  # type: ignore[type-var]
    blocked = replace(made, clients=True, context=replace(made.context, outputs=outputs))
    try:
        yield blocked
    finally:
        blocked.clear()
        blocked.remove_images()


@asynccontextmanager
async def seen(world: World) -> AsyncIterator[release.ReleaseContext]:
    """Look from inside, as the functions of the pipeline do."""
    async with probing(world.context, world.say, world.images("good")) as context:
        assert isinstance(context.probe, InsideProbe)
        yield context


async def deploy(world: World, context: release.ReleaseContext, **others: str) -> Outcome:
    async def verify(ready: release.ReleaseContext) -> None:
        found = await release.verify(ready, images)
        checked = {item.what: str(item.status) for item in found.findings}
        assert checked["internal load balancer"] == "PASS", found.text()

    images = world.images(**others)
    options = ReleaseOptions(verify=verify)
    return await release.deploy(context, images, REQUEST, environments.validate, world.say, options)


async def probers(world: World) -> list[ecs.Task]:
    cluster = world.context.outputs.cluster
    found = await ecs.all_tasks(world.context.aws, cluster)
    return [task for task in found if "_probe" in task.revision]


async def test_a_release_that_succeeds_and_one_that_fails_are_seen_from_inside(
    inside: World,
) -> None:
    assert not (await elb.get(f"{NOWHERE}/threat-hunter/health")).status
    async with seen(inside) as context:
        first = await deploy(inside, context)
        assert first.kind is OutcomeKind.DEPLOYED, first.text()

        # Somebody kills the prober; another one takes its place.
        (prober,) = await probers(inside)
        await ecs.stop_task(inside.context.aws, context.outputs.cluster, prober.id, reason="test")

        lied = await deploy(inside, context, threat_hunter="liar")
        assert lied.kind is OutcomeKind.ROLLED_BACK, lied.text()
        assert "not version liar" in lied.why
        report = await environments.validate(context)
        assert report.ok, report.text()
    assert len(await probers(inside)) == 2
    client, cluster = inside.context.aws.client("ecs"), inside.context.outputs.cluster
    eventually(lambda: not client.list_tasks(cluster=cluster, family=FAMILY)["taskArns"])
    dynamodb = inside.context.aws.client("dynamodb")
    rows = dynamodb.scan(TableName=inside.context.outputs.state_table)["Items"]
    assert [row for row in rows if row["pk"]["S"].startswith(PARTITION)] == []
