"""Regions outside the commercial partition: ARNs and domains of their own."""

import re

import pytest

from ci.aws import ecr
from ci.aws.partitions import domain, partition
from ci.aws.session import Aws
from tests.unit.infra.parsing import ROOT

REGIONS = {
    "eu-central-1": ("aws", "amazonaws.com"),
    "us-gov-west-1": ("aws-us-gov", "amazonaws.com"),
    "cn-north-1": ("aws-cn", "amazonaws.com.cn"),
    "us-iso-east-1": ("aws-iso", "c2s.ic.gov"),
    "nowhere": ("aws", "amazonaws.com"),
}
#: Names that are the same in every partition: service principals, the audience of GitHub's tokens.
#: That of the load balancers' access logs: ELB User Guide, "Enable access logs".
EVERYWHERE = re.compile(
    r"(cloudwatch|ecs-tasks|logdelivery\.elasticloadbalancing|sns|sts)\.amazonaws\.com|com\.amazonaws\."
)


@pytest.mark.parametrize("region", REGIONS)
def test_a_region_s_partition_and_domain_are_botocore_s(region: str) -> None:
    assert (partition(region), domain(region)) == REGIONS[region]


async def test_the_registry_s_host_is_in_the_region_s_domain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def account(_: Aws) -> str:
        return "123456789012"

    monkeypatch.setattr(Aws, "account", account)
    host = await ecr.host(Aws(region="cn-north-1"))
    assert host == "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn"


def test_no_other_code_names_a_partition_or_a_domain() -> None:
    files = [
        p
        for part in ("aws", "infra", "pipeline", "release")
        for p in (ROOT / "ci" / part).rglob("*")
    ]
    found = [
        f"{path.name}: {line.strip()}"
        for path in files
        if path.suffix in (".py", ".yaml") and path.name != "partitions.py"
        for line in path.read_text().splitlines()
        if re.search(r"arn:aws:|amazonaws\.com", EVERYWHERE.sub("", line))
        and not line.strip().startswith("#")
    ]
    assert found == []
