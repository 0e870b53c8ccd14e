"""A service that restarts again and again, on real containers.

Slow, because ECS starts a new task after each crash.
"""

import pytest

from ci import release
from ci.errors import NothingToRollBackError
from ci.local.container_engine import TASK_LABEL
from ci.local.wait import until
from tests.local.releases.environment import World

pytestmark = pytest.mark.docker
HUNTER = "threat-hunter"
PATIENCE = 60  # seconds for ECS to start a task


async def crash(world: World) -> None:
    """Kill the container of the agent's task once it runs, and wait until ECS knows of it."""
    ecs, cluster = world.context.aws.client("ecs"), world.context.outputs.cluster
    service = world.context.env.service(world.context.config.agent(HUNTER))

    def running() -> list[str]:
        arns = ecs.list_tasks(cluster=cluster, serviceName=service)["taskArns"]
        tasks = ecs.describe_tasks(cluster=cluster, tasks=arns)["tasks"] if arns else []
        return [item["taskArn"] for item in tasks if item["lastStatus"] == "RUNNING"]

    async def started() -> bool:
        return len(running()) == 1

    assert await until(started, seconds=PATIENCE)
    (arn,) = running()
    (container,) = world.docker.containers.list(
        filters={"label": f"{TASK_LABEL}={arn}"}, ignore_removed=True
    )
    container.kill()

    async def noticed() -> bool:
        return arn not in running()

    assert await until(noticed, seconds=PATIENCE)


async def test_it_does_not_look_healthy_and_its_release_is_no_rollback_target(world: World) -> None:
    outcome = await world.deploy(world.images("good"))
    assert outcome.ok, outcome.text()
    try:
        for _ in range(3):
            await crash(world)
        found = await release.status(world.context)
        hunter = next(item for item in found.services if item.agent == HUNTER)
        assert (hunter.restarts, found.ok) == (3, False)
        assert hunter.health.startswith("restarted 3 times in ")
        assert found.notes[0].startswith(f"release {outcome.release} crash-loops: {HUNTER}")
        (record,) = await world.records()
        assert (record.outcome, record.stable) == ("unstable", False)
        with pytest.raises(NothingToRollBackError):
            await world.rollback()
    finally:
        world.clear()  # others deploy the same images, and they do not crash
