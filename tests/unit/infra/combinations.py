"""The combinations of settings that lead to different templates, for tests to lint and apply."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ci.aws.session import Aws
from ci.aws.target import Target
from ci.config import Config, LoadBalancer, Network, Scaling

ACCOUNT = "123456789012"
CERTIFICATE = f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/12345678-1234-1234-1234-123456789012"
WEB_ACL = f"arn:aws:wafv2:us-east-1:{ACCOUNT}:regional/webacl/acso/12345678"
EXISTING = Network(
    vpc="vpc-0123456789abcdef0",
    private_subnets=("subnet-0123456789abcdef0", "subnet-0123456789abcdef1"),
    public_subnets=("subnet-0123456789abcdef2", "subnet-0123456789abcdef3"),
)
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::reports/*"}
    ],
}
OWN_CERTIFICATE: Mapping[str, Any] = {"domain": "acso.example.com", "hosted_zone": "Z0123456789"}
#: Changes of an environment, and how many agents it has.
COMBINATIONS: Mapping[str, tuple[int, Mapping[str, Any]]] = {
    "one agent": (1, {}),
    "a certificate of the stack": (5, OWN_CERTIFICATE),
    "a certificate from elsewhere": (
        2,
        {
            "domain": "acso.example.com",
            "certificate": CERTIFICATE,
            "scaling": Scaling(min=1, max=4, cpu=60, requests=100),
            "subscriptions": ("team@example.com",),
            "load_balancer": LoadBalancer(
                allowed_cidrs=("192.0.2.0/24", "198.51.100.0/24"),
                access_logs=True,
                deletion_protection=True,
                web_acl=WEB_ACL,
            ),
        },
    ),
    "an existing network, internal, scaled": (
        2,
        {
            "network": EXISTING,
            "load_balancer": LoadBalancer(
                internal=True, access_logs=True, access_logs_bucket="b-b"
            ),
            "scaling": Scaling(min=1, max=4, cpu=60, requests=100),
        },
    ),
    "endpoints without NAT": (
        5,
        {
            "network": Network(nat="none", vpc_cidr="10.8.0.0/20"),
            "permissions_boundary": f"arn:aws:iam::{ACCOUNT}:policy/boundary",
            "subscriptions": ("team@example.com", "https://example.com/hook"),
            "tags": {"cost-center": "4711"},
        },
    ),
    "forty agents with everything": (
        40,
        {
            **OWN_CERTIFICATE,
            "network": Network(nat="per-zone"),
            "load_balancer": LoadBalancer(access_logs=True),
            "scaling": Scaling(min=1, max=4, cpu=60),
        },
    ),
}


def combination(name: str, config: Config, aws: Aws) -> Target:
    """Return the target of a combination: production, with as many agents as it has."""
    count, changes = COMBINATIONS[name]
    agents = tuple(
        replace(
            config.agents[0],
            name=f"agent-{number}",
            calls=(),
            secrets={"TOKEN": "acso/service:token", "URL": "/acso/url"},
        )
        for number in range(count)
    )
    policies = {agents[0].name: POLICY}
    env = replace(config.environment("production"), **changes)
    account = None if aws.endpoint else ACCOUNT
    return Target(
        aws=aws,
        config=replace(config, agents=agents, policies=policies),
        env=replace(env, account=account),
    )
