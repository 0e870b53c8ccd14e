"""Amazon EC2: the subnets and security groups of tasks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ci.aws.session import Aws


@dataclass(frozen=True, kw_only=True)
class Subnet:
    """One subnet: its VPC, and its state (`available` if it can be used)."""

    id: str
    vpc: str
    state: str


@dataclass(frozen=True, kw_only=True)
class SecurityGroup:
    """One security group: its VPC, and the TCP port ranges that it allows in (first, last)."""

    id: str
    vpc: str
    ports: tuple[tuple[int, int], ...]

    def allows(self, port: int) -> bool:
        """Return whether an ingress rule allows this port."""
        return any(first <= port <= last for first, last in self.ports)


async def subnets(aws: Aws, ids: Iterable[str]) -> dict[str, Subnet]:
    """Return the subnets of these ids that exist."""
    wanted = list(ids)
    # By filter, because a missing one among `SubnetIds` would be an error for all.
    filters = [{"Name": "subnet-id", "Values": wanted}]
    found = await aws.pages("ec2", "describe_subnets", "Subnets", Filters=filters)
    return {
        item["SubnetId"]: Subnet(id=item["SubnetId"], vpc=item["VpcId"], state=item["State"])
        for item in found
        if item["SubnetId"] in wanted
    }


async def security_group(aws: Aws, id_: str) -> SecurityGroup | None:
    """Return a security group by its id, None if it does not exist."""
    filters = [{"Name": "group-id", "Values": [id_]}]
    found = await aws.pages("ec2", "describe_security_groups", "SecurityGroups", Filters=filters)
    for item in found:
        if item["GroupId"] == id_:
            ports = (_ports(rule) for rule in item["IpPermissions"])
            return SecurityGroup(id=id_, vpc=item["VpcId"], ports=tuple(filter(None, ports)))
    return None


def _ports(rule: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the TCP port range of a rule; protocol -1 means every protocol and port."""
    if rule["IpProtocol"] == "-1":
        return 0, 65535
    return (rule["FromPort"], rule["ToPort"]) if rule["IpProtocol"] in ("tcp", "6") else None
