"""What an administrator is shown before the first deploy: resources, costs, CI's roles."""

from dataclasses import replace
from pathlib import Path

import pytest

from ci import infra
from ci.config import LoadBalancer, Network, load
from ci.infra.costs import DATE, costs
from ci.infra.trust import DEPLOY, subjects
from ci.pipeline.bootstrap import Bootstrap
from tests.unit.json_documents import result

CONFIG = load(Path(__file__).parents[2] / "acso.toml")
STAGING = CONFIG.environment("staging")
RESOURCE = infra.ResourceChange(action="Add", logical_id="Vpc", kind="AWS::EC2::VPC")


def made(*resources: infra.ResourceChange, repository: str | None = "o/acso") -> Bootstrap:
    config = replace(CONFIG, project=replace(CONFIG.project, repository=repository))
    return Bootstrap(
        environment="staging",
        account="123456789012 (us-east-1)",
        resources=resources,
        costs=costs(config, STAGING),
        roles=[("acso-staging-deploy", subjects(config, STAGING, DEPLOY))],
    )


def test_it_says_what_is_applied_what_it_costs_and_whom_the_roles_trust() -> None:
    text = made(RESOURCE).text()
    assert text.startswith("an administrator applies to staging in 123456789012 (us-east-1):")
    assert "add     Vpc AWS::EC2::VPC" in text
    assert f"US dollars a month (prices of us-east-1, {DATE})" in text
    assert "afterwards CI may assume acso-staging-deploy, for:\n  repo:o/acso:ref:" in text
    assert text.splitlines()[-1].startswith("next: ./acso deploy --env staging")
    data = made(RESOURCE).data()
    assert data["roles"] == {"acso-staging-deploy": ["repo:o/acso:ref:refs/heads/main"]}
    assert data["resources"][0]["logical_id"] == "Vpc"
    result("bootstrap").validate(data)


def test_nothing_to_apply_and_nobody_to_trust_are_said_too() -> None:
    text = made(repository=None).text()
    assert "nothing is left to apply" in text
    assert "CI may do nothing" in text
    assert "next:" not in text


def test_the_total_is_the_sum_of_its_lines() -> None:
    found = costs(CONFIG, STAGING)
    counts = {item.what: item.count for item in found}
    assert counts == {
        "load balancer": 1,
        "NAT gateway": 1,
        "public address": 3,
        "KMS key": 1,
        "alarm": 20,
        "task": 5,
    }
    dollars = {item.what: round(item.dollars, 2) for item in found}
    assert dollars["NAT gateway"] == 32.85
    assert dollars["load balancer"] == 16.43
    # Five tasks of half a vCPU and one GB.
    assert dollars["task"] == round(5 * 730 * (0.5 * 0.04048 + 0.004445), 2)
    total = next(line for line in made(RESOURCE).text().splitlines() if "in all" in line)
    assert float(total.split()[-1]) == round(sum(item.dollars for item in found), 2)


@pytest.mark.parametrize(
    ("network", "internal", "expected"),
    [
        (Network(nat="per-zone"), False, {"NAT gateway": 2, "public address": 4}),
        (Network(nat="none"), True, {"endpoint in a zone": 16}),
        (Network(vpc="vpc-1"), False, {"public address": 2}),
    ],
)
def test_the_network_decides_what_is_paid_for(
    network: Network, *, internal: bool, expected: dict[str, int]
) -> None:
    env = replace(STAGING, network=network, load_balancer=LoadBalancer(internal=internal))
    kinds = {"NAT gateway", "public address", "endpoint in a zone"}
    found = {item.what: item.count for item in costs(CONFIG, env) if item.what in kinds}
    assert found == expected
