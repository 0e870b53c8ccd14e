"""Amazon EC2 and Elastic Load Balancing: who can reach what in an environment's network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ci.aws.session import Aws


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One range of ports that a security group opens to one range of addresses.

    Every port if `first` is 0 and `last` 65535; `protocol` is `-1` for all.
    """

    protocol: str
    first: int
    last: int
    source: str  # a CIDR


@dataclass(frozen=True, kw_only=True)
class Group:
    """One security group with what it opens to ranges of addresses."""

    id: str
    name: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True, kw_only=True)
class RouteTable:
    """Where a route table sends packets; `main` is that of subnets without one of their own."""

    id: str
    main: bool
    subnets: frozenset[str]
    gateways: tuple[str, ...]  # internet gateways
    nats: tuple[str, ...]  # NAT gateways


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One VPC endpoint: `com.amazonaws.REGION.SERVICE`, and its state."""

    service: str
    state: str
    tables: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Listener:
    """One listener of a load balancer; `redirects` if it only sends callers to HTTPS."""

    port: int
    protocol: str
    policy: str
    certificates: tuple[str, ...]
    redirects: bool


async def groups(aws: Aws, vpc: str) -> list[Group]:
    """Return the security groups of a VPC."""
    found = await aws.pages("ec2", "describe_security_groups", "SecurityGroups", **_in(vpc))
    return [
        Group(
            id=item["GroupId"],
            name=item["GroupName"],
            rules=tuple(
                _rule(permission, source)
                for permission in item["IpPermissions"]
                for source in _sources(permission)
            ),
        )
        for item in found
    ]


async def route_tables(aws: Aws, vpc: str) -> list[RouteTable]:
    """Return the route tables of a VPC."""
    found = await aws.pages("ec2", "describe_route_tables", "RouteTables", **_in(vpc))
    return [_route_table(item) for item in found]


async def endpoints(aws: Aws, vpc: str) -> list[Endpoint]:
    """Return the endpoints of a VPC."""
    found = await aws.pages("ec2", "describe_vpc_endpoints", "VpcEndpoints", **_in(vpc))
    return [
        Endpoint(
            service=item["ServiceName"],
            state=item.get("State", "").lower(),
            tables=frozenset(item.get("RouteTableIds", ())),
        )
        for item in found
    ]


async def nat_gateways(aws: Aws, vpc: str) -> dict[str, str]:
    """Return the states of a VPC's NAT gateways, by their id; deleted ones are left out."""
    found = await aws.pages("ec2", "describe_nat_gateways", "NatGateways", **_in(vpc))
    states = {item["NatGatewayId"]: str(item["State"]) for item in found}
    return {id_: state for id_, state in states.items() if state != "deleted"}


async def listeners(aws: Aws, load_balancer: str) -> list[Listener]:
    """Return the listeners of a load balancer, by its ARN."""
    found = await aws.pages(
        "elbv2", "describe_listeners", "Listeners", LoadBalancerArn=load_balancer
    )
    return [_listener(item) for item in found]


def _in(vpc: str) -> Mapping[str, Any]:
    return {"Filters": [{"Name": "vpc-id", "Values": [vpc]}]}


def _rule(permission: Mapping[str, Any], source: str) -> Rule:
    protocol = permission["IpProtocol"]
    ranged = protocol in ("tcp", "udp", "6", "17")
    return Rule(
        protocol=protocol,
        first=permission.get("FromPort", 0) if ranged else 0,
        last=permission.get("ToPort", 65535) if ranged else 65535,
        source=source,
    )


def _sources(permission: Mapping[str, Any]) -> Sequence[str]:
    return [
        *(item["CidrIp"] for item in permission.get("IpRanges", ())),
        *(item["CidrIpv6"] for item in permission.get("Ipv6Ranges", ())),
    ]


def _route_table(item: Mapping[str, Any]) -> RouteTable:
    associations = item.get("Associations", ())
    routes = [route for route in item.get("Routes", ()) if route.get("State") != "blackhole"]
    gateways = (str(route.get("GatewayId", "")) for route in routes)
    return RouteTable(
        id=item["RouteTableId"],
        main=any(found.get("Main") for found in associations),
        subnets=frozenset(found["SubnetId"] for found in associations if found.get("SubnetId")),
        gateways=tuple(name for name in gateways if name.startswith("igw-")),
        nats=tuple(route["NatGatewayId"] for route in routes if route.get("NatGatewayId")),
    )


def _listener(item: Mapping[str, Any]) -> Listener:
    actions = item.get("DefaultActions", ())
    return Listener(
        port=item["Port"],
        protocol=item["Protocol"],
        policy=item.get("SslPolicy", ""),
        certificates=tuple(found["CertificateArn"] for found in item.get("Certificates", ())),
        redirects=bool(actions)
        and all(
            action["Type"] == "redirect"
            and action.get("RedirectConfig", {}).get("Protocol") == "HTTPS"
            for action in actions
        ),
    )
