"""A deploy of a plan begins only while all is as the plan saw it."""

import dataclasses

import pytest

from ci import release
from ci.errors import PlanOutdatedError
from ci.release import Facts, OutcomeKind, plan
from ci.release.plan import saved
from ci.release.plan.changes import Plan
from ci.release.records import table
from ci.release.records.release import History, State
from tests.unit.release.conftest import REQUEST, Pipeline, images, validation

SUPERVISOR = "acso-staging-supervisor"


async def looked(pipeline: Pipeline) -> tuple[Plan, Facts]:
    planned = await plan(pipeline.context, images("good-2"))
    return planned, await saved.read_facts(pipeline.context)


async def carried_out(pipeline: Pipeline, expected: Facts) -> release.Outcome:
    options = release.ReleaseOptions(expected=expected)
    return await release.deploy(
        pipeline.context, images("good-2"), REQUEST, validation(True), print, options
    )


async def test_a_plan_that_still_holds_is_carried_out(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    _, expected = await looked(pipeline)
    outcome = await carried_out(pipeline, expected)
    assert outcome.kind is OutcomeKind.DEPLOYED


async def test_the_first_deploy_can_be_planned_too(pipeline: Pipeline) -> None:
    expected = saved.nothing_deployed(pipeline.context.config, pipeline.context.env)
    outcome = await carried_out(pipeline, expected)
    assert outcome.kind is OutcomeKind.DEPLOYED


@pytest.mark.parametrize(
    ("move", "told"),
    [
        pytest.param("deploy", "last validated release: 2026.11.24-1 -> 2026.11.24-2", id="deploy"),
        pytest.param("scale", "1 tasks", id="somebody scaled a service"),
        pytest.param("delete", f"service {SUPERVISOR}: {SUPERVISOR}:1", id="one was deleted"),
    ],
)
async def test_an_environment_that_moved_is_refused_by_name_and_not_touched(
    pipeline: Pipeline, move: str, told: str
) -> None:
    await pipeline.deploy("good")
    _, expected = await looked(pipeline)
    world = pipeline.world
    if move == "deploy":
        await pipeline.another().deploy("good-3")
    elif move == "scale":
        world.update_service(SUPERVISOR, desiredCount=4)
    else:
        world.delete_service("cluster", SUPERVISOR, force=True)
    before, records = world.running(), len(world.items)
    with pytest.raises(PlanOutdatedError) as raised:
        await carried_out(pipeline, expected)
    assert told in str(raised.value)
    assert raised.value.hint == "nothing was changed; make a new plan: ./acso plan --env staging"
    assert world.running() == before
    assert len(world.items) == records  # not even a record; and the lock is free again


async def test_a_release_that_stopped_halfway_since_is_a_move(pipeline: Pipeline) -> None:
    await pipeline.deploy("good")
    planned, expected = await looked(pipeline)
    history = await table.history(pipeline.context)
    half = dataclasses.replace(history.releases[0], id="2026.11.24-2", state=State.DEPLOYING)
    now = saved.facts_of(planned.found, History(releases=(half, *history.releases)))
    assert saved.differences(expected, now) == ["unfinished releases: none -> 2026.11.24-2"]


async def test_a_plan_s_result_is_the_same_before_and_after_the_push(
    pipeline: Pipeline,
) -> None:
    await pipeline.deploy("good")
    unpushed = [dataclasses.replace(image, reference="") for image in images("good-2")]
    before = saved.result_facts(unpushed, await plan(pipeline.context, unpushed))
    pushed_images = images("good-2")
    assert saved.result_facts(pushed_images, await plan(pipeline.context, pushed_images)) == before
    assert before["version of supervisor"] == "good-2"


async def test_another_version_or_another_size_is_something_else(pipeline: Pipeline) -> None:
    async def brought(name: str, cpu: int) -> Facts:
        env = dataclasses.replace(pipeline.context.env, cpu=cpu, memory=2048)
        context = dataclasses.replace(pipeline.context, env=env)
        return saved.result_facts(images(name), await plan(context, images(name)))

    planned = await brought("good", 512)
    bigger = saved.differences(planned, await brought("good", 1024))
    assert [line.partition(":")[0] for line in bigger] == [
        f"settings of {agent.name}" for agent in pipeline.context.config.agents
    ]
    newer = saved.differences(planned, await brought("good-2", 512))
    assert "version of supervisor: good -> good-2" in newer


def test_what_was_not_planned_is_a_move_and_so_is_what_is_gone() -> None:
    assert saved.differences({"a": "1", "b": "2"}, {"b": "2", "c": "3"}) == [
        "a: 1 -> absent",
        "c: absent -> 3",
    ]
    saved.require_same("staging", {"a": "1"}, {"a": "1"})
