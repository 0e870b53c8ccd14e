"""Every combination of settings is applied on the embedded AWS, and answers under its names."""

import dataclasses
import http.client
import json
import urllib.parse
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from ci import infra
from ci.aws import cloudformation
from ci.aws.session import Aws
from ci.aws.target import Target
from ci.config import LoadBalancer, load
from ci.errors import InfrastructureError
from ci.infra import phases
from ci.infra.stacks import changes
from ci.pipeline import environments
from ci.pipeline.bootstrap import bootstrap
from tests.unit.infra.combinations import COMBINATIONS, combination

pytestmark = pytest.mark.docker
CONFIG = load(Path(__file__).parents[3] / "tests" / "acso.toml")
LARGE = "forty agents with everything"


@pytest.fixture
async def existing(aws: Aws) -> Mapping[str, Any]:
    """A network, a hosted zone and a bucket that existed before."""
    vpc = (await aws.call("ec2", "create_vpc", CidrBlock="10.20.0.0/16"))["Vpc"]["VpcId"]
    subnets = [
        (
            await aws.call(
                "ec2",
                "create_subnet",
                VpcId=vpc,
                CidrBlock=f"10.20.{number}.0/24",
                AvailabilityZone=f"us-east-1{zone}",
            )
        )["Subnet"]["SubnetId"]
        for number, zone in enumerate("abab")
    ]
    zone = await aws.call("route53", "create_hosted_zone", Name="example.com", CallerReference=vpc)
    await aws.call("s3", "create_bucket", Bucket="b-b")
    return {
        "vpc": vpc,
        "private_subnets": tuple(subnets[:2]),
        "public_subnets": tuple(subnets[2:]),
        "zone": zone["HostedZone"]["Id"].rpartition("/")[2],
    }


def placed(name: str, aws: Aws, existing: Mapping[str, Any]) -> Target:
    """Return a combination's target, in the network and zone that exist."""
    target = combination(name, CONFIG, aws)
    env, network = target.env, target.env.network
    if network.vpc:
        kept = {key: existing[key] for key in ("vpc", "private_subnets", "public_subnets")}
        env = dataclasses.replace(env, network=dataclasses.replace(network, **kept))
    if env.hosted_zone:
        env = dataclasses.replace(env, hosted_zone=existing["zone"])
    return dataclasses.replace(target, env=env)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.matrix] if name == LARGE else [])
        for name in COMBINATIONS
    ],
)
async def test_a_combination_is_applied_answers_and_is_removed(
    name: str, aws: Aws, existing: Mapping[str, Any]
) -> None:
    target = placed(name, aws, existing)
    plain = dataclasses.replace(target.env.load_balancer, deletion_protection=False)
    target = dataclasses.replace(target, env=dataclasses.replace(target.env, load_balancer=plain))
    desired = infra.EnvironmentStack(target=target).desired()
    stack = await phases_applied(target, desired)
    found = await infra.outputs(target)
    assert found is not None
    assert len(found.target_groups) == len(target.config.agents)
    if target.env.network.vpc:
        assert found.subnets == existing["private_subnets"]
    scheme = "https" if target.env.encrypted else "http"
    host = target.env.domain or stack.outputs["LoadBalancerHost"]
    assert stack.outputs["Url"] == f"{scheme}://{host}"
    # The embedded AWS has no TLS of its own: the path leads to the listener with TLS.
    assert await status(found.url) == (404, {"detail": "no agent has this path"})
    if target.env.encrypted:
        answer = await status(found.url, host="acso-production-alb.alb.localhost:80")
        assert answer[0] == 301
    assert await changes(aws, desired) == []


async def phases_applied(
    target: Target, desired: cloudformation.DesiredStack
) -> cloudformation.Stack:
    """Apply a new environment as a release does: extended before, completed after."""
    stack = infra.EnvironmentStack(target=target)
    await stack.extend(desired, print)
    first = await stack.current()
    assert first == phases.extended(None, desired)
    await stack.complete(desired, print)
    found = await cloudformation.stack(target.aws, desired.name)
    assert found is not None
    return found


@pytest.fixture(autouse=True)
async def removed(aws: Aws) -> AsyncIterator[None]:
    """Delete production after a test, and what it keeps."""
    yield
    target = combination("one agent", CONFIG, aws)
    if await cloudformation.stack(aws, target.env.prefix):
        await cloudformation.protect(aws, target.env.prefix, protected=False)
        await infra.delete(target, print)
    for table in await aws.pages("dynamodb", "list_tables", "TableNames"):
        await aws.call("dynamodb", "delete_table", TableName=table)
    for group in await aws.pages("logs", "describe_log_groups", "logGroups"):
        await aws.call("logs", "delete_log_group", logGroupName=group["logGroupName"])


async def status(url: str, host: str = "") -> tuple[int, Any]:
    """Return what a path that no agent has is answered with."""

    def get() -> tuple[int, Any]:
        where = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(where.netloc, timeout=10)
        headers = {"Host": host} if host else {}
        connection.request(
            "GET", "/nobody/x" if host else f"{where.path}/nobody/x", headers=headers
        )
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, json.loads(body) if answer.status == 404 else body

    return await anyio.to_thread.run_sync(get)


async def test_tls_is_turned_on_beside_plain_http_and_off_again(
    aws: Aws, existing: Mapping[str, Any]
) -> None:
    plain = placed("one agent", aws, existing)
    plain = dataclasses.replace(
        plain,
        env=dataclasses.replace(plain.env, load_balancer=LoadBalancer(deletion_protection=False)),
    )
    named = {"domain": "tls.example.com", "hosted_zone": existing["zone"]}
    secured = dataclasses.replace(plain, env=dataclasses.replace(plain.env, **named))
    without, secure = (infra.EnvironmentStack(target=item) for item in (plain, secured))
    await without.extend(without.desired(), print)

    async def protocols() -> dict[str, int]:
        """Return the rules of each listener."""
        found = await infra.outputs(plain)
        assert found is not None
        name = found.load_balancer_name
        balancers = await aws.call("elbv2", "describe_load_balancers", Names=[name])
        arn = balancers["LoadBalancers"][0]["LoadBalancerArn"]
        listeners = await aws.pages("elbv2", "describe_listeners", "Listeners", LoadBalancerArn=arn)
        return {
            item["Protocol"]: len(
                await aws.pages("elbv2", "describe_rules", "Rules", ListenerArn=item["ListenerArn"])
            )
            - 1
            for item in listeners
        }

    assert await protocols() == {"HTTP": 1}
    await secure.extend(secure.desired(), print)
    assert await protocols() == {"HTTP": 1, "HTTPS": 1}
    await secure.complete(secure.desired(), print)
    assert await protocols() == {"HTTP": 0, "HTTPS": 1}
    await without.extend(without.desired(), print, back=True)
    assert await protocols() == {"HTTP": 1, "HTTPS": 1}
    await without.complete(without.desired(), print)
    assert await protocols() == {"HTTP": 1}


async def test_an_administrator_is_shown_what_is_applied_and_then_that_nothing_is_left(
    aws: Aws, existing: Mapping[str, Any]
) -> None:
    target = placed("a certificate of the stack", aws, existing)
    text = (await bootstrap(target)).text()
    assert "an administrator applies to production in 000000000000 (us-east-1):" in text
    assert "SecureListener AWS::ElasticLoadBalancingV2::Listener" in text
    assert "in all" in text
    await environments.prepare(target)
    assert (
        "production in 000000000000 (us-east-1): nothing is left"
        in (await bootstrap(target)).text()
    )
    # What is fixed is said by the plan, before a deploy fails on it.
    internal = dataclasses.replace(target.env, load_balancer=LoadBalancer(internal=True))
    with pytest.raises(InfrastructureError, match=r"load_balancer\.internal of acso-production"):
        await infra.preview(dataclasses.replace(target, env=internal))
