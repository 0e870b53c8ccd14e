"""Faults of the network that can be planted in the embedded AWS."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from ci.release import ReleaseContext
from tests.validation.faults.fault import on_emulator

WORLD, WORLD_V6 = "0.0.0.0/0", "::/0"
Rule = dict[str, Any]


def rule(protocol: str, first: int, last: int, *ranges: str) -> Rule:
    """Return an ingress rule as EC2 describes it; a range with a colon is one of IPv6."""
    made: Rule = {"IpProtocol": protocol}
    if protocol != "-1":
        made |= {"FromPort": first, "ToPort": last}
    old = [{"CidrIp": item} for item in ranges if ":" not in item]
    new = [{"CidrIpv6": item} for item in ranges if ":" in item]
    return made | ({"IpRanges": old} if old else {}) | ({"Ipv6Ranges": new} if new else {})


async def vpc(place: ReleaseContext) -> str:
    """Return the id of the environment's VPC."""
    subnets = await place.aws.call("ec2", "describe_subnets", SubnetIds=[place.outputs.subnets[0]])
    return str(subnets["Subnets"][0]["VpcId"])


async def balancer_group(place: ReleaseContext) -> str:
    """Return the id of the load balancer's security group."""
    name = f"{place.env.prefix}-alb"
    answer = await place.aws.call("elbv2", "describe_load_balancers", Names=[name])
    return str(answer["LoadBalancers"][0]["SecurityGroups"][0])


async def ingress(place: ReleaseContext) -> set[str]:
    """Return the ingress rules of all security groups of the account, as `NAME PROTOCOL ...`."""
    found = await place.aws.call("ec2", "describe_security_groups")
    return {
        f"{group['GroupName']} {item['IpProtocol']} {item.get('FromPort')}-{item.get('ToPort')} "
        f"{given.get('CidrIp') or given.get('CidrIpv6')}"
        for group in found["SecurityGroups"]
        for item in group["IpPermissions"]
        for given in [*item.get("IpRanges", ()), *item.get("Ipv6Ranges", ())]
    }


async def _opened(place: ReleaseContext, group: str, *rules: Rule) -> AsyncIterator[None]:
    change = partial(place.aws.call, "ec2")
    await change("authorize_security_group_ingress", GroupId=group, IpPermissions=list(rules))
    yield
    await change("revoke_security_group_ingress", GroupId=group, IpPermissions=list(rules))


async def _tasks_open(place: ReleaseContext, *rules: Rule) -> AsyncIterator[None]:
    async for _ in _opened(place, place.outputs.security_group, *rules):
        yield


async def _balancer_open(place: ReleaseContext, *rules: Rule) -> AsyncIterator[None]:
    async for _ in _opened(place, await balancer_group(place), *rules):
        yield


async def _new_group(place: ReleaseContext, vpc_id: str, *rules: Rule) -> AsyncIterator[None]:
    created = await place.aws.call(
        "ec2", "create_security_group", GroupName="debug", Description="debugging", VpcId=vpc_id
    )
    async for _ in _opened(place, created["GroupId"], *rules):
        yield
    await place.aws.call("ec2", "delete_security_group", GroupId=created["GroupId"])


def _has(*parts: str) -> Any:
    return lambda rules: all(any(part in item for item in rules) for part in parts)


@on_emulator(
    "network.open-ports",
    wrong="The tasks' port is open to the world in IPv6 alone.",
    read=ingress,
    shows=_has("-tasks tcp 8000-8000 ::/0"),
)
async def ingress_ipv6_only(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in _tasks_open(place, rule("tcp", 8000, 8000, WORLD_V6)):
        yield


@on_emulator(
    "network.open-ports",
    wrong="A world-open range of ports (20 to 1024) contains 22, and no rule names 22.",
    read=ingress,
    shows=_has("-load-balancer tcp 20-1024 0.0.0.0/0"),
)
async def ingress_range_with_ssh(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in _balancer_open(place, rule("tcp", 20, 1024, WORLD)):
        yield


@on_emulator(
    "network.open-ports",
    wrong="The tasks' group lets in all protocols (-1, a rule without ports) from the world.",
    read=ingress,
    shows=_has("-tasks -1 None-None 0.0.0.0/0"),
)
async def ingress_all_protocols(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in _tasks_open(place, rule("-1", 0, 0, WORLD)):
        yield


@on_emulator(
    "network.open-ports",
    wrong="UDP is open to the world.",
    read=ingress,
    shows=_has("-tasks udp 0-65535 0.0.0.0/0"),
)
async def ingress_udp(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in _tasks_open(place, rule("udp", 0, 65535, WORLD)):
        yield


@on_emulator(
    "network.open-ports",
    wrong="Two rules (0.0.0.0/1 and 128.0.0.0/1) open a port to the world between them.",
    read=ingress,
    shows=_has("-tasks tcp 22-22 0.0.0.0/1", "-tasks tcp 22-22 128.0.0.0/1"),
)
async def ingress_two_halves_of_the_world(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in _tasks_open(place, rule("tcp", 22, 22, "0.0.0.0/1", "128.0.0.0/1")):
        yield


@on_emulator(
    "network.open-ports",
    wrong="A group that somebody added to the VPC opens PostgreSQL's port to the world.",
    read=ingress,
    shows=_has("debug tcp 5432-5432 0.0.0.0/0"),
)
async def ingress_of_a_stray_group(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in _new_group(place, await vpc(place), rule("tcp", 5432, 5432, WORLD)):
        yield


@on_emulator(
    "network.open-ports",
    wrong="The load balancer's group has a port open to the world on which no listener listens.",
    read=ingress,
    shows=_has("-load-balancer tcp 8080-8080 0.0.0.0/0"),
)
async def ingress_without_listener(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in _balancer_open(place, rule("tcp", 8080, 8080, WORLD)):
        yield


@on_emulator(
    wrong="Harmless: the load balancer's listener port is open to the world in IPv6, too.",
    read=ingress,
    shows=_has("-load-balancer tcp 80-80 ::/0"),
)
async def harmless_listener_port(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in _balancer_open(place, rule("tcp", 80, 80, WORLD_V6)):
        yield


@on_emulator(
    wrong="Harmless: all protocols are open to the VPC's own addresses.",
    read=ingress,
    shows=_has("-tasks -1 None-None 10.0.0.0/16"),
)
async def harmless_open_to_the_vpc(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in _tasks_open(place, rule("-1", 0, 0, "10.0.0.0/16")):
        yield


@on_emulator(
    wrong="Harmless: a group of another VPC of the account is open to the world.",
    read=ingress,
    shows=_has("debug tcp 22-22 0.0.0.0/0"),
)
async def harmless_group_of_another_vpc(place: ReleaseContext) -> AsyncIterator[None]:
    created = await place.aws.call("ec2", "create_vpc", CidrBlock="10.99.0.0/16")
    other = created["Vpc"]["VpcId"]
    async for _ in _new_group(place, other, rule("tcp", 22, 22, WORLD)):
        yield
    await place.aws.call("ec2", "delete_vpc", VpcId=other)


async def private_routes(place: ReleaseContext) -> list[str]:
    """Return destination and gateway of the routes of the tasks' first subnet."""
    table = await _route_table(place)
    return [
        f"{item.get('DestinationCidrBlock')} {item.get('GatewayId')}" for item in table["Routes"]
    ]


async def _route_table(place: ReleaseContext) -> dict[str, Any]:
    filters = [{"Name": "association.subnet-id", "Values": [place.outputs.subnets[0]]}]
    answer = await place.aws.call("ec2", "describe_route_tables", Filters=filters)
    found: dict[str, Any] = answer["RouteTables"][0]
    return found


@on_emulator(
    "network.private-subnets",
    wrong="The subnets of the tasks are private by name, and have a route to the internet gateway.",
    read=private_routes,
    shows=lambda routes: any(item.startswith("0.0.0.0/0 igw-") for item in routes),
)
async def private_subnet_with_internet_gateway(place: ReleaseContext) -> AsyncIterator[None]:
    ec2 = partial(place.aws.call, "ec2")
    attached = [{"Name": "attachment.vpc-id", "Values": [await vpc(place)]}]
    gateways = await ec2("describe_internet_gateways", Filters=attached)
    gateway = gateways["InternetGateways"][0]["InternetGatewayId"]
    table = (await _route_table(place))["RouteTableId"]
    await ec2("create_route", RouteTableId=table, DestinationCidrBlock=WORLD, GatewayId=gateway)
    yield
    await ec2("delete_route", RouteTableId=table, DestinationCidrBlock=WORLD)


async def endpoint_tables(place: ReleaseContext) -> dict[str, list[str]]:
    """Return the route tables of the VPC's gateway endpoints, by the service's last word."""
    filters = [{"Name": "vpc-id", "Values": [await vpc(place)]}]
    answer = await place.aws.call("ec2", "describe_vpc_endpoints", Filters=filters)
    return {
        item["ServiceName"].rpartition(".")[2]: sorted(item.get("RouteTableIds", ()))
        for item in answer["VpcEndpoints"]
    }


@on_emulator(
    "network.endpoints",
    wrong="The S3 endpoint is not in the route table of the first private subnet any more.",
    read=endpoint_tables,
    shows=lambda found: len(found["s3"]) < len(found["dynamodb"]),
)
async def endpoint_not_in_a_route_table(place: ReleaseContext) -> AsyncIterator[None]:
    filters = [{"Name": "vpc-id", "Values": [await vpc(place)]}]
    answer = await place.aws.call("ec2", "describe_vpc_endpoints", Filters=filters)
    endpoint = next(e for e in answer["VpcEndpoints"] if e["ServiceName"].endswith(".s3"))
    table = (await _route_table(place))["RouteTableId"]
    change = partial(
        place.aws.call, "ec2", "modify_vpc_endpoint", VpcEndpointId=endpoint["VpcEndpointId"]
    )
    await change(RemoveRouteTableIds=[table])
    yield
    await change(AddRouteTableIds=[table])
