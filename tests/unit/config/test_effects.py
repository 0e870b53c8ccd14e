"""What a change of a setting does with running services: the table says what is so."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from ci.aws.session import Aws
from ci.aws.target import Target
from ci.config import LoadBalancer, Network, reference
from ci.infra import environment
from ci.release import Image
from ci.release.plan.desired import desired_service
from tests.unit.release.conftest import CONFIG, ENV, context
from tests.unit.release.fakes.world import World

BASE = dataclasses.replace(ENV, account="123456789012")
ARN = "arn:aws:{}:us-east-1:123456789012:{}"
#: Another value of each setting of an environment; those in None have one that is allowed.
OTHERS: Mapping[str, Any] = {
    "domain": {"domain": "a.example.com", "hosted_zone": "Z1"},
    "hosted_zone": {"domain": "a.example.com", "hosted_zone": "Z1"},
    "certificate": {"domain": "a.example.com", "certificate": ARN.format("acm", "certificate/1")},
    "ecs_exec": {"ecs_exec": True},
    "permissions_boundary": {"permissions_boundary": "arn:aws:iam::aws:policy/x"},
    "subscriptions": {"subscriptions": ("a@b.ch",)},
    "tags": {"tags": {"team": "x"}},
    "cpu": {"cpu": 1024},
    "memory": {"memory": 2048},
    "tls": {"tls": "none"},
    "model": {"model": "m"},
    "checks": {"checks": ("lint",)},
    "suites": {"suites": ("smoke", "production")},
    "load_balancer.allowed_cidrs": {"load_balancer": LoadBalancer(allowed_cidrs=("192.0.2.0/24",))},
    "load_balancer.access_logs": {"load_balancer": LoadBalancer(access_logs=True)},
    "load_balancer.deletion_protection": {"load_balancer": LoadBalancer(deletion_protection=True)},
    "load_balancer.web_acl": {
        "load_balancer": LoadBalancer(web_acl=ARN.format("wafv2", "regional/webacl/x"))
    },
    "network.nat": {"network": Network(nat="none")},
}
NOT_COMPARED = {
    "region",  # fixed
    "strategy",  # there is one
    "account",  # checked, not used
    "branch",  # the trust of roles, if there is a repository
    "event",
    "promotes_from",
}


def effect(changes: Mapping[str, Any]) -> str:
    """Return what a change of an environment leads to, as the table names it."""

    def made(env: Any) -> tuple[str, str, Any]:
        where = dataclasses.replace(context(World()), env=env)
        image = Image(agent=CONFIG.agents[0].name, version="v", reference="r/x@sha256:1")
        service = desired_service(where, image)
        stack = environment.desired(Target(aws=Aws(region="us-east-1"), config=CONFIG, env=env))
        return service.content, service.settings, (stack.template, stack.parameters, stack.tags)

    old, new = made(BASE), made(dataclasses.replace(BASE, **changes))
    names = ("tasks", "service", "stack")
    return next((n for n, a, b in zip(names, old, new, strict=True) if a != b), "")


def described() -> dict[str, str]:
    """Return the effect that the table has for each setting of an environment."""
    prefix = "environments.ENV"
    return {
        f"{item.table}.{item.name}".removeprefix(f"{prefix}."): item.about.effect
        for item in reference.settings()
        if item.table in (prefix, f"{prefix}.load_balancer", f"{prefix}.network")
    }


@pytest.mark.parametrize("name", sorted(set(described()) - NOT_COMPARED))
def test_the_effect_in_the_table_is_the_one_of_the_plan(name: str) -> None:
    value = getattr(BASE, name, None)
    if name not in OTHERS and not isinstance(value, int):
        assert name.partition(".")[0] in ("load_balancer", "network"), name
        assert name.rpartition(".")[2] in FIXED, name
        return
    changes = OTHERS.get(name)
    if changes is None:
        assert isinstance(value, int)
        changes = {name: value + 1}
    assert effect(changes) == described()[name]


#: Settings that are fixed once an environment exists, or that need others.
FIXED = ("internal", "vpc", "vpc_cidr", "private_subnets", "public_subnets", "access_logs_bucket")
