"""Agents that come, go and change in a deployed environment, each by deploy and by rollback.

Slow, because containers start and stop. Services and infrastructure are whole after each.
"""

import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ci import infra, release
from ci.aws.target import Target
from ci.config import Agent
from ci.infra.templates import mapped
from ci.release import OutcomeKind
from ci.release.plan.changes import Action
from tests.local.releases.environment import World, load
from tests.local.releases.test_release import everywhere

pytestmark = pytest.mark.docker
HUNTER = "threat-hunter"
Edit = Callable[[Agent, Agent], tuple[Agent, ...]]


@pytest.fixture
async def small(world: World) -> AsyncIterator[World]:
    """An environment of its own with two agents, deployed."""
    config = world.context.config
    two = (dataclasses.replace(config.agent("supervisor"), calls=()), config.agent(HUNTER))
    config = dataclasses.replace(config, agents=two)
    env = dataclasses.replace(config.environment("staging"), bake_time=0)
    target = Target(aws=world.context.aws, config=config, env=env)
    outputs = await infra.apply(target, world.say)
    made = with_target(world, target, outputs)
    assert (await made.deploy(made.images("good"))).ok
    yield made
    made.clear()


def with_target(world: World, target: Target, outputs: release.Outputs) -> World:
    """Return a world whose releases change the stack of a target."""
    context = release.ReleaseContext(
        aws=target.aws,
        config=target.config,
        env=target.env,
        outputs=outputs,
        infrastructure=infra.EnvironmentStack(target=target),
    )
    return dataclasses.replace(world, context=context)


def changed(world: World, *agents: Agent, **changes: Any) -> World:
    """Return the environment as an acso.toml with these agents and settings has it."""
    config = dataclasses.replace(world.context.config, agents=agents)
    env = dataclasses.replace(world.context.env, **changes)
    target = Target(aws=world.context.aws, config=config, env=env)
    return with_target(world, target, world.context.outputs)


def of(world: World) -> tuple[Agent, Agent]:
    """Return the two agents."""
    supervisor, hunter = world.context.config.agents
    return supervisor, hunter


async def whole(world: World) -> dict[str, str]:
    """Check that services and stack have the agents of acso.toml and no other; return versions."""
    names = {world.context.env.service(agent) for agent in world.context.config.agents}
    assert set(world.services()) == names
    stack = await infra.EnvironmentStack(target=world.context).current()
    assert stack is not None
    mapping = mapped(stack.template).values()
    assert {item["Name"]: (item["HealthPath"], item["HealthCodes"]) for item in mapping} == {
        agent.name: (agent.health_path, "200") for agent in world.context.config.agents
    }
    found = await release.status(world.context)
    assert found.ok, found.text()
    return await world.versions()


async def test_a_renamed_agent_is_added_first_and_removed_last_and_comes_back(
    small: World,
) -> None:
    supervisor, hunter = of(small)
    renamed = changed(small, supervisor, dataclasses.replace(hunter, name="code-review"))
    planned = await release.plan(
        renamed.context, [], {small.context.env.service(hunter): hunter.name}
    )
    assert [(change.agent, change.action) for change in planned.changes] == [
        (HUNTER, Action.REMOVE)
    ]
    outcome = await renamed.deploy(renamed.images("good"))
    assert (outcome.kind, outcome.notes) == (OutcomeKind.DEPLOYED, ())
    assert await whole(renamed) == everywhere(renamed, "good")
    outcome = await renamed.rollback()
    assert outcome.kind is OutcomeKind.RESTORED
    assert await whole(small) == everywhere(small, "good")


async def test_a_changed_port_path_size_and_grace_lose_no_request_and_go_back(
    small: World,
) -> None:
    supervisor, hunter = of(small)
    assert (await small.deploy(small.images("good", threat_hunter="old"))).ok
    before = await infra.EnvironmentStack(target=small.context).current()
    moved = dataclasses.replace(hunter, port=9000, health_path="/alive")
    other = changed(small, supervisor, moved, health_grace=40, memory=2048)
    images = other.images("good", threat_hunter="new")
    urls = [small.context.url(agent.name) + agent.health_path for agent in (hunter, moved)]
    async with load(urls) as answers:
        assert (await other.deploy(images, valid=False)).kind is OutcomeKind.ROLLED_BACK
        assert await whole(small) == everywhere(small, "good", threat_hunter="old")
        outcome = await other.deploy(images)
        assert (outcome.kind, outcome.notes) == (OutcomeKind.DEPLOYED, ())
        assert port_of(other, moved) == 9000
        assert await whole(other) == everywhere(other, "good", threat_hunter="new")
        outcome = await other.rollback()
        assert outcome.kind is OutcomeKind.RESTORED
    assert port_of(small, hunter) == 8000
    assert await infra.EnvironmentStack(target=small.context).current() == before
    assert await whole(small) == everywhere(small, "good", threat_hunter="old")
    assert answers.keys() <= {"200", "404"}, answers  # 404: a path that one of the two has not
    assert answers["200"] > 20


#: Edits of acso.toml: the agents afterwards, other settings, and what a plan says of them.
EDITS: dict[str, tuple[Edit, dict[str, Any], dict[str, Action]]] = {
    "added": (
        lambda one, two: (one, two, dataclasses.replace(two, name="code-review")),
        {},
        {"supervisor": Action.NONE, HUNTER: Action.NONE, "code-review": Action.CREATE},
    ),
    "removed": (
        lambda one, _: (one,),
        {},
        {"supervisor": Action.NONE, HUNTER: Action.REMOVE},
    ),
    "renamed": (
        lambda one, two: (one, dataclasses.replace(two, name="code-review")),
        {},
        {"supervisor": Action.NONE, "code-review": Action.CREATE, HUNTER: Action.REMOVE},
    ),
    "on another port": (
        lambda one, two: (one, dataclasses.replace(two, port=9000)),
        {},
        {"supervisor": Action.NONE, HUNTER: Action.CHANGE},
    ),
    "at another path": (
        lambda one, two: (one, dataclasses.replace(two, health_path="/alive")),
        {},
        {"supervisor": Action.NONE, HUNTER: Action.NONE},
    ),
    "of another size": (
        lambda one, two: (one, two),
        {"memory": 2048},
        {"supervisor": Action.CHANGE, HUNTER: Action.CHANGE},
    ),
    "more of them": (
        lambda one, two: (one, two),
        {"desired_count": 2},
        {"supervisor": Action.CHANGE, HUNTER: Action.CHANGE},
    ),
}


@pytest.mark.matrix
@pytest.mark.parametrize("edit", EDITS)
async def test_every_edit_of_the_agents_is_planned_deployed_and_rolled_back(
    small: World, edit: str
) -> None:
    agents, settings, expected = EDITS[edit]
    other = changed(small, *agents(*of(small)), **settings)
    before = await infra.EnvironmentStack(target=small.context).current()
    known = {small.context.env.service(agent): agent.name for agent in of(small)}
    assert other.context.infrastructure is not None
    outputs = infra.with_new_agents(small_outputs(small), other.context.config)
    planning = dataclasses.replace(other.context, outputs=outputs)
    planned = await release.plan(planning, other.images("good"), known)
    assert {change.agent: change.action for change in planned.changes} == expected
    outcome = await other.deploy(other.images("good"))
    assert (outcome.kind, outcome.notes) == (OutcomeKind.DEPLOYED, ())
    assert await whole(other) == everywhere(other, "good")
    outcome = await other.rollback()
    assert outcome.kind is OutcomeKind.RESTORED
    assert await infra.EnvironmentStack(target=small.context).current() == before
    assert await whole(small) == everywhere(small, "good")


def small_outputs(world: World) -> infra.Outputs:
    outputs = world.context.outputs
    assert isinstance(outputs, infra.Outputs)
    return outputs


def port_of(world: World, agent: Agent) -> int:
    (block,) = world.services()[world.context.env.service(agent)]["loadBalancers"]
    return int(block["containerPort"])
