"""The performance suite on real containers: two releases side by side, under the same load."""

from dataclasses import replace

import pytest

import validation
from ci.aws import records
from ci.aws.records import MEASURED
from ci.config.validating import Load
from ci.release import ReleaseContext
from tests.local.releases.environment import World
from validation import Report, Status

pytestmark = [pytest.mark.docker, pytest.mark.matrix]
#: What is measured lasts 15 seconds; a change of ten times and of a fifth of the answers is found.
LOAD = Load(rate=5, seconds=15, noise=50)


async def measured(context: ReleaseContext) -> Report:
    context = replace(context, env=replace(context.env, load=LOAD))
    report = await validation.run(["performance"], context, context.outputs.url)
    print(report.text())
    return report


async def one_off_tasks(world: World) -> list[str]:
    """Return what started the tasks that belong to no service and still run."""
    ecs, cluster = world.context.aws.client("ecs"), world.context.outputs.cluster
    tasks = ecs.describe_tasks(cluster=cluster, tasks=list(world.tasks()))["tasks"]
    return [item["startedBy"] for item in tasks if "acso-run-task" in item.get("startedBy", "")]


async def test_a_release_that_works_worse_is_found_and_the_same_again_is_not(world: World) -> None:
    assert (await world.deploy(world.images("good"))).ok
    report = await measured(world.context)
    assert {result.status for result in report.results} == {Status.SKIP}
    worse = {"supervisor": "slower", "threat_hunter": "flaky", "incident_response": "large"}
    assert (await world.deploy(world.images("good", **worse))).ok
    report = await measured(world.context)
    latency, errors, memory = (result.finding for result in report.results)
    for finding, agent in (
        (latency, "supervisor p50"),
        (errors, "threat-hunter"),
        (memory, "incident-response"),
    ):
        assert finding.status is Status.FAIL, report.text()
        assert f"{agent} " in finding.observed, report.text()
        assert "3 of 3 agents that changed" in map(str, finding.evidence)
    assert await one_off_tasks(world) == []
    table = world.context.outputs.releases_table
    (kept,) = await records.documents(world.context.aws, table, MEASURED)
    assert kept.body.keys() == {"supervisor", "threat-hunter", "incident-response"}


async def test_a_release_with_the_same_code_is_no_regression(world: World) -> None:
    world.clear()
    for name in ("good", "good-2"):
        assert (await world.deploy(world.images(name))).ok
    report = await measured(world.context)
    # On a machine without CPU to spare the run may be invalid, which is no failure of the release.
    for result in report.results:
        assert result.status is Status.PASS or "the load is invalid" in result.finding.observed
