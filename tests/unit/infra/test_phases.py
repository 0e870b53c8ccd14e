"""The stack while a release changes agents: what it has is kept, what comes is added."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ci.aws.cloudformation import DesiredStack
from ci.aws.session import Aws
from ci.config import Agent, Config, LoadBalancer, Network, Scaling
from ci.errors import InfrastructureError
from ci.infra import environment
from ci.infra.generated import facts_of
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


NAMED = {"domain": "a.example.com", "hosted_zone": "Z1"}


def test_plain_http_keeps_working_until_a_release_with_tls_has_succeeded(stack: Stack) -> None:
    both = extended(stack(), stack(**NAMED))
    assert set(facts_of(both.template).listeners) == {"http", "https"}
    assert (both.parameters["Tls"], both.parameters["Redirect"]) == ("true", "false")
    assert extended(stack(**NAMED), stack(**NAMED)) == stack(**NAMED)
    # And a release that turns TLS off keeps it until then.
    off = extended(stack(**NAMED), stack())
    assert set(facts_of(off.template).listeners) == {"http", "https"}
    assert {off.parameters[name] for name in ("Domain", "Tls")} == {"a.example.com", "true"}


def test_a_new_domain_takes_over_once_the_release_has_succeeded(stack: Stack) -> None:
    moved = stack(domain="b.example.com", hosted_zone="Z1")
    assert extended(stack(**NAMED), moved).parameters["Domain"] == "a.example.com"


def test_address_ranges_secrets_and_subscriptions_of_both_states_count(
    config: Config, stack: Stack
) -> None:
    def state(cidr: str, secret: str, mail: str) -> DesiredStack:
        agent = replace(config.agents[0], secrets={"TOKEN": f"/{secret}"})
        balancer = LoadBalancer(allowed_cidrs=(cidr,))
        return stack(agent, load_balancer=balancer, subscriptions=(mail,), account="123456789012")

    old, new = state("192.0.2.0/25", "old", "a@b.ch"), state("192.0.2.128/25", "new", "c@d.ch")
    facts = facts_of(extended(old, new).template)
    assert set(facts.cidrs) == {"192.0.2.0/25", "192.0.2.128/25"}
    assert [arn.rpartition("/")[2] for arn in facts.secrets] == ["new", "old"]
    assert set(facts.subscriptions) == {"a@b.ch", "c@d.ch"}
    assert not covers(new, old)  # its tasks could not read their secret
    assert covers(extended(old, new), old)


def test_a_policy_allows_what_either_state_allows_and_denies_what_both_deny(
    config: Config,
) -> None:
    def state(*statements: dict[str, str]) -> DesiredStack:
        document = {"Version": "2012-10-17", "Statement": list(statements)}
        target_ = target(Aws(region="r"), config, config.environment("staging"))
        more = replace(target_.config, policies={config.agents[0].name: document})
        return environment.desired(replace(target_, config=more))

    def statement(effect: str, action: str) -> dict[str, str]:
        return {"Effect": effect, "Action": action, "Resource": "arn:aws:s3:::b"}

    read, write = statement("Allow", "s3:GetObject"), statement("Allow", "s3:PutObject")
    deny = statement("Deny", "s3:DeleteObject")
    both = extended(state(read), state(write, deny))
    (policy,) = facts_of(both.template).policies.values()
    assert policy["Statement"] == [read, write]
    kept = extended(state(read, deny), state(write, deny))
    assert deny in next(iter(facts_of(kept.template).policies.values()))["Statement"]


def test_autoscaling_is_changed_after_the_release_for_its_services_exist_then(
    config: Config, stack: Stack
) -> None:
    scaled = stack(scaling=Scaling(min=1, max=3, cpu=50))
    assert "AutoScaling::ScalableTarget" in scaled.template
    for begun in (extended(None, scaled), extended(stack(), scaled)):
        assert "AutoScaling::ScalableTarget" not in begun.template
        assert begun.parameters["Scaled"] == ""
    assert extended(scaled, stack()).parameters["Scaled"] == scaled.parameters["Scaled"] != ""
    more = stack(
        *config.agents,
        replace(config.agents[0], name="code-review"),
        scaling=Scaling(min=1, max=3, cpu=50),
    )
    values = {v["Name"]: "Min" in v for v in mapped(extended(scaled, more).template).values()}
    assert not values.pop("code-review")
    assert all(values.values())


def test_gateways_and_endpoints_of_both_states_exist_during_a_release(stack: Stack) -> None:
    one, none = stack(network=Network()), stack(network=Network(nat="none"))
    each = stack(network=Network(nat="per-zone"))
    for before, after, nat, endpoints in (
        (one, none, "one", "true"),
        (none, each, "per-zone", "true"),
        (each, one, "per-zone", "false"),
    ):
        found = extended(before, after).parameters
        assert (found["NatGateways"], found["Endpoints"]) == (nat, endpoints)


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"load_balancer": LoadBalancer(internal=True)}, "load_balancer.internal"),
        ({"network": Network(vpc="vpc-1")}, "network.vpc"),
        ({"network": Network(vpc_cidr="10.1.0.0/16")}, "network.vpc_cidr"),
    ],
)
def test_what_would_replace_the_network_or_load_balancer_is_refused(
    stack: Stack, changes: dict[str, Any], setting: str
) -> None:
    with pytest.raises(InfrastructureError, match=f"{setting} of acso-staging cannot change"):
        extended(stack(), stack(**changes))
    # A stack of an earlier version has the same values, without naming them.
    known = stack()
    earlier = replace(
        known,
        parameters={k: v for k, v in known.parameters.items() if k not in ("Internal", "VpcCidr")},
    )
    assert extended(earlier, known).parameters == known.parameters
