"""The stack while a release changes agents: what it has is kept, what comes is added."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ci.aws.cloudformation import DesiredStack
from ci.aws.session import Aws
from ci.config import Agent, Config
from ci.errors import InfrastructureError
from ci.infra import environment
from ci.infra.phases import ANY_ANSWER, covers, extended
from ci.infra.templates import mapped
from tests.unit.infra.parsing import target

Stack = Callable[..., DesiredStack]


@pytest.fixture
def stack(config: Config) -> Stack:
    """Returns the stack of these agents, the configured ones by default."""

    def make(*agents: Agent, **changes: Any) -> DesiredStack:
        env = replace(config.environment("staging"), **changes)
        chosen = replace(config, agents=agents or config.agents)
        return environment.desired(target(Aws(region="r"), chosen, env))

    return make


def test_a_stack_that_does_not_exist_is_made_as_it_is_to_be(stack: Stack) -> None:
    assert extended(None, stack()) == stack()


def test_an_agent_that_is_added_needs_one_change_of_the_stack(config: Config, stack: Stack) -> None:
    more = stack(replace(config.agents[0], name="code-review"), *config.agents)
    assert extended(stack(), more) == more


def test_an_agent_that_is_removed_keeps_its_resources_during_the_release(
    config: Config, stack: Stack
) -> None:
    fewer = stack(*config.agents[1:])
    both = extended(stack(), fewer)
    assert both == stack()
    assert extended(both, fewer) == both  # also after a release that was killed


def test_a_renamed_agent_has_its_resources_under_both_names(config: Config, stack: Stack) -> None:
    renamed = replace(config.agents[0], name="code-review")
    names = {v["Name"] for v in mapped(extended(stack(), stack(renamed)).template).values()}
    assert names == {"code-review", *(agent.name for agent in config.agents)}


def test_a_new_port_is_opened_beside_the_old_one(config: Config, stack: Stack) -> None:
    moved = stack(*(replace(agent, port=9000) for agent in config.agents))
    parameters = extended(stack(), moved).parameters
    assert (parameters["FirstPort"], parameters["LastPort"]) == ("8000", "9000")
    assert extended(moved, stack()).parameters == parameters


def test_tasks_that_know_only_one_of_two_health_paths_stay_healthy(
    config: Config, stack: Stack
) -> None:
    moved = stack(replace(config.agents[0], health_path="/alive"), *config.agents[1:])
    first, second = list(mapped(extended(stack(), moved).template).values())[:2]
    assert (first["HealthPath"], first["HealthCodes"]) == ("/alive", ANY_ANSWER)
    assert second["HealthCodes"] == "200"
    assert mapped(moved.template)["supervisor"]["HealthCodes"] == "200"
    # On the way back the path is the old one again, and the tasks of both stay healthy.
    back = extended(extended(stack(), moved), stack(), back=True)
    first = mapped(back.template)["supervisor"]
    assert (first["HealthPath"], first["HealthCodes"]) == ("/health", ANY_ANSWER)


def test_ecs_exec_stays_allowed_while_tasks_with_it_run(stack: Stack) -> None:
    on, off = stack(ecs_exec=True), stack(ecs_exec=False)
    assert extended(on, off).parameters["Exec"] == extended(off, on).parameters["Exec"] == "true"


def test_the_way_back_keeps_the_template_and_returns_the_parameters(stack: Stack) -> None:
    newer = replace(stack(), template="# newer\n" + stack().template)
    newer = replace(newer, parameters={**newer.parameters, "New": "1", "LogRetention": "1"})
    back = extended(newer, stack(), back=True)
    assert back.template == newer.template
    assert back.parameters == {**stack().parameters, "New": "1"}


def test_a_name_with_the_same_logical_ids_is_refused(config: Config, stack: Stack) -> None:
    old, new = (replace(config.agents[0], name=name) for name in ("code-review", "codereview"))
    with pytest.raises(InfrastructureError, match="codereview has the same logical ids as code-r"):
        extended(stack(old), stack(new))


def test_services_can_go_back_without_a_change_of_the_stack_if_it_has_what_they_need(
    config: Config, stack: Stack
) -> None:
    assert covers(stack(log_retention=1), stack())
    assert covers(stack(), stack(*config.agents[1:]))
    assert not covers(stack(*config.agents[1:]), stack())
    assert not covers(stack(), stack(*(replace(agent, port=9) for agent in config.agents)))
    assert not covers(stack(), stack(*(replace(a, health_path="/x") for a in config.agents)))
