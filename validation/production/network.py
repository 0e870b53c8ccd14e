"""Who can reach an environment, and how its tasks reach AWS."""

import datetime
import ipaddress
from collections.abc import Collection, Iterable, Sequence

from ci.aws import elb
from ci.aws.audit import certificates, network
from ci.aws.audit.network import Group, Listener, RouteTable, Rule
from ci.common.concurrency import parallel
from ci.config.environments import HTTP
from validation import environment
from validation.model import (
    Check,
    CheckContext,
    Evidence,
    Finding,
    Severity,
    judged,
    not_examined,
)
from validation.production.inventory import (
    agents,
    inventory,
    own,
    settings,
    target_group,
    with_tasks,
)

GROUP = "AWS::EC2::SecurityGroup"
#: A range is the world's if it is as large as this, or larger.
WORLD = {4: 8, 6: 16}  # length of the prefix, by IP version
#: Policies that allow TLS 1.2 and 1.3 only.
#: Source: Elastic Load Balancing User Guide, "Security policies" of Application Load Balancers.
POLICIES = ("ELBSecurityPolicy-TLS13-1-2-", "ELBSecurityPolicy-TLS13-1-3-")
WEAK = ("-Ext0", "-Ext1", "-Ext2")  # with ciphers that have no forward secrecy
DAYS = 30  # that a certificate must last: ACM renews 60 days before the end
#: Gateway endpoints that a network of its own always has.
GATEWAYS = ("s3", "dynamodb")
#: Endpoints in place of NAT gateways (`nat = "none"`).
INTERFACES = (
    *("bedrock-runtime", "ecr.api", "ecr.dkr", "logs", "monitoring", "secretsmanager", "ssm"),
    "ssmmessages",
)


async def vpc(context: CheckContext) -> str:
    """Return the id of the environment's VPC."""
    return context.env.network.vpc or (await inventory(context)).one("Vpc")


async def listeners(context: CheckContext) -> list[Listener]:
    """Return the listeners of the environment's load balancer."""
    balancer = (await inventory(context)).one("LoadBalancer")
    return await context.reads.get("listeners", lambda: network.listeners(context.aws, balancer))


async def open_ports(context: CheckContext) -> Finding:
    """Check that nothing is open to the world but the load balancer's listeners."""
    stack = await inventory(context)
    listed = stack.of(GROUP)
    every = await network.groups(context.aws, await vpc(context))
    ours = [
        g for g in every if not context.env.network.vpc or g.id in listed or own(context, g.name)
    ]
    ports = {item.port for item in await listeners(context)}
    balancer = stack.one("LoadBalancerSecurity")
    allowed = context.env.load_balancer.allowed_cidrs
    problems = []
    for group in ours:
        cidrs = allowed if group.id == balancer else ()
        problems += open_problems(group, ports, cidrs)
    missing = listed - {group.id for group in ours}
    rules = sum(len(group.rules) for group in ours)
    return judged(
        problems,
        Evidence("security groups", len(ours), len(ours) + len(missing)),
        Evidence("listeners", len(ports), max(len(ports), 1)),
        observed=f"{rules} rules of {len(ours)} security groups, none open to the world but "
        f"the listeners'",
        expected=f"the world reaches the load balancer's ports only ({_ports(ports)})",
    )


def open_problems(group: Group, ports: Collection[int], allowed: Sequence[str]) -> list[str]:
    """Return what a security group opens to the world.

    Args:
        group: the group.
        ports: those of the load balancer's listeners.
        allowed: the ranges that may reach them, if the group is the load balancer's; all of the
            internet is so by IPv6 too.
    """
    return [
        f"{group.name or group.id} opens {_described(rule)} to {rule.source}"
        for rule in group.rules
        if worldwide(rule.source) and not _listens(rule, ports, allowed)
    ]


def worldwide(source: str) -> bool:
    """Return whether a range of addresses is the whole internet, or a large part of it."""
    found = ipaddress.ip_network(source, strict=False)
    return found.prefixlen < WORLD[found.version]


def _listens(rule: Rule, ports: Collection[int], allowed: Sequence[str]) -> bool:
    single = rule.first == rule.last and rule.protocol in ("tcp", "6")
    everybody = {"::/0"} if "0.0.0.0/0" in allowed else set()
    return single and rule.first in ports and rule.source in {*allowed, *everybody}


def _described(rule: Rule) -> str:
    if rule.protocol == "-1":
        return "every protocol and port"
    where = f"{rule.first}" if rule.first == rule.last else f"{rule.first}-{rule.last}"
    return f"{rule.protocol} {where}"


def _ports(ports: Iterable[int]) -> str:
    return ", ".join(str(port) for port in sorted(ports))


async def private_subnets(context: CheckContext) -> Finding:
    """Check that tasks have no public address, and subnets without a way in."""
    found, evidence = await agents(context)
    tables = await network.route_tables(context.aws, await vpc(context))
    problems, used = [], set()
    for _, service in sorted(found.services.items()):
        mine = (settings(service).get("networkConfiguration") or {}).get("awsvpcConfiguration", {})
        used |= set(mine.get("subnets", ()))
        public = mine.get("assignPublicIp", "DISABLED") != "DISABLED"
        problems += [f"{service.name} gives its tasks public addresses"] * public
    used |= {task.subnet for tasks in found.tasks.values() for task in tasks if task.subnet}
    routed = {subnet: table_of(subnet, tables) for subnet in used}
    problems += [
        f"subnet {subnet} has a route to an internet gateway"
        for subnet, table in sorted(routed.items())
        if table is not None and table.gateways
    ]
    known = [subnet for subnet, table in routed.items() if table is not None]
    return judged(
        problems,
        evidence,
        Evidence("subnets", len(known), max(len(used), 1)),
        with_tasks(found),
        observed=f"tasks run in {len(used)} private subnets, without public addresses",
        expected="no public address, no route to an internet gateway",
    )


def table_of(subnet: str, tables: Sequence[RouteTable]) -> RouteTable | None:
    """Return the route table of a subnet: its own, or the VPC's main one; pure."""
    named = next((table for table in tables if subnet in table.subnets), None)
    return named or next((table for table in tables if table.main), None)


def without_tls(context: CheckContext) -> str:
    """Say why an environment has no TLS: acso.toml gives it no domain, or says `tls = "none"`."""
    if context.env.encrypted:
        return ""
    return 'acso.toml says tls = "none"' if context.env.tls == HTTP else "it has no domain"


async def tls(context: CheckContext) -> Finding:
    """Check that callers use TLS 1.2 or later, and are redirected to it."""
    found = await listeners(context)
    secure = [item for item in found if item.protocol == "HTTPS"]
    problems = [f"port {item.port} has the policy {item.policy}" for item in secure if _weak(item)]
    problems += ["there is no listener with TLS"] * (not secure)
    problems += [
        f"port {item.port} does not redirect to HTTPS"
        for item in found
        if item.protocol == "HTTP" and not item.redirects
    ]
    return judged(
        problems,
        Evidence("listeners", len(found), max(len(found), 1)),
        observed=f"{len(found)} listeners: TLS 1.2 or later, and redirects to it",
        expected="HTTPS with a policy of TLS 1.2 and 1.3, HTTP only redirects",
    )


def _weak(listener: Listener) -> bool:
    name = listener.policy
    return not name.startswith(POLICIES) or any(part in name for part in WEAK)


async def certificate(context: CheckContext) -> Finding:
    """Check that the certificates are issued, and do not end soon."""
    arns = sorted({arn for item in await listeners(context) for arn in item.certificates})
    found = await parallel(lambda arn: certificates.certificate(context.aws, arn), arns)
    now = datetime.datetime.now(datetime.UTC)
    problems = [
        f"{arn.rpartition('/')[2]}: {text}"
        for arn, item in zip(arns, found, strict=True)
        for text in certificate_problems(item, now)
    ]
    return judged(
        problems,
        Evidence("certificates", len([item for item in found if item]), max(len(arns), 1)),
        observed=f"{len(found)} certificates are issued and last {DAYS} days or more",
        expected=f"issued, and valid for {DAYS} more days",
    )


def certificate_problems(
    found: certificates.Certificate | None, now: datetime.datetime
) -> list[str]:
    """Return what is wrong with a certificate; pure."""
    if found is None:
        return ["it does not exist"]
    if found.status != "ISSUED":
        return [f"it is {found.status}"]
    left = (found.ends - now).total_seconds() / 86400 if found.ends else 0.0
    return [f"it ends in {left:.0f} days"] * (left < DAYS)


async def endpoints(context: CheckContext) -> Finding:
    """Check that tasks reach AWS as acso.toml says: by endpoints, and by NAT gateways."""
    stack, where = await inventory(context), await vpc(context)
    found = await network.endpoints(context.aws, where)
    nat = context.env.network.nat
    names = [*GATEWAYS, *(() if nat != "none" or stack.embedded else INTERFACES)]
    states = {item.service.rpartition(f"{context.env.region}.")[2]: item.state for item in found}
    problems = [
        f"the endpoint of {name} is {states.get(name, 'missing')}"
        for name in names
        if states.get(name) != "available"
    ]
    evidence = Evidence("endpoints", len(found), max(len(found), len(names) * (not problems)))
    if stack.embedded and nat != "none" and not problems:
        return not_examined("the embedded AWS has no NAT gateways", evidence)
    gateways = {} if stack.embedded else await network.nat_gateways(context.aws, where)
    tables = await network.route_tables(context.aws, where)
    private = set((await environment.output(context, "Subnets")).split(","))
    problems += nat_problems(nat, gateways, [table_of(subnet, tables) for subnet in private])
    return judged(
        problems,
        evidence,
        Evidence("route tables", len(tables), max(len(tables), 1)),
        observed=f"{len(names)} endpoints are available, and NAT gateways: {nat}",
        expected=f"endpoints of {', '.join(names)}; NAT gateways: {nat}",
    )


def nat_problems(
    nat: str, gateways: dict[str, str], tables: Sequence[RouteTable | None]
) -> list[str]:
    """Return what is wrong with the way out of private subnets; pure.

    Args:
        nat: `none`, `one` or `per-zone`.
        gateways: states of the NAT gateways by id.
        tables: the route table of each private subnet.
    """
    wanted = {"none": 0, "one": 1, "per-zone": len(tables)}[nat]
    usable = {id_ for id_, state in gateways.items() if state == "available"}
    used = {table.nats[0] for table in tables if table and table.nats}
    problems = [
        f"NAT gateway {id_} is {state}" for id_, state in gateways.items() if state != "available"
    ]
    if len(usable) < wanted:
        problems.append(f"{len(usable)} of {wanted} NAT gateways are available")
    without = [table for table in tables if table is None or not set(table.nats) & usable]
    if wanted and without:
        problems.append(f"{len(without)} of {len(tables)} private subnets have no way out")
    elif wanted and len(used) < wanted:
        problems.append(f"all private subnets leave by {len(used)} NAT gateway, not by {wanted}")
    return problems


def own_network(context: CheckContext) -> str:
    """Say why endpoints are not the environment's: it uses an existing VPC."""
    return f"{context.env.network.vpc} is not its own" if context.env.network.vpc else ""


async def healthy_targets(context: CheckContext) -> Finding:
    """Check that each task of each agent is a healthy target of the load balancer."""
    found, evidence = await agents(context)
    items = sorted(found.services.items())
    groups = [target_group(service) for _, service in items]
    read = await parallel(lambda group: elb.targets(context.aws, group), filter(None, groups))
    targets = dict(zip(filter(None, groups), read, strict=True))
    problems, healthy = [], 0
    for (agent, service), group in zip(items, groups, strict=True):
        mine = [item for item in targets.get(group, ()) if item.state != "draining"]
        well = [item for item in mine if item.state == "healthy"]
        healthy += len(well)
        problems += [f"{agent}: {item.address} is {item}" for item in mine if item not in well]
        if len(well) < max(service.desired, 1) and len(mine) == len(well):
            problems.append(f"{agent} has {len(well)} of {max(service.desired, 1)} targets")
    return judged(
        problems,
        evidence,
        Evidence("target groups", len(targets), len(groups)),
        observed=f"{healthy} targets of {len(targets)} groups are healthy",
        expected="a healthy target for each task",
    )


CHECKS = (
    Check(
        id="network.open-ports",
        title="the world reaches the load balancer only",
        run=open_ports,
        severity=Severity.CRITICAL,
        reads=("ec2:DescribeSecurityGroups", "elasticloadbalancing:DescribeListeners"),
        why="an open port is found within minutes",
        remedy="remove the rule; allowed_cidrs of acso.toml says who may connect",
        controls=("CIS 5.2", "CIS 5.3", "FSBP EC2.18", "FSBP EC2.19"),
    ),
    Check(
        id="network.private-subnets",
        title="tasks run in private subnets",
        run=private_subnets,
        severity=Severity.HIGH,
        reads=("ecs:DescribeServices", "ec2:DescribeRouteTables"),
        why="a task with a public address is reached past the load balancer",
        remedy="./acso deploy sets the services' network again",
        controls=("FSBP ECS.2",),
    ),
    Check(
        id="network.tls",
        title="callers use TLS",
        run=tls,
        severity=Severity.CRITICAL,
        reads=("elasticloadbalancing:DescribeListeners",),
        applies=without_tls,
        why="tokens of callers are read by whoever sees the packets",
        remedy="./acso deploy creates the listeners again",
        controls=("FSBP ELB.1",),
    ),
    Check(
        id="network.certificate",
        title="the certificate lasts",
        run=certificate,
        severity=Severity.HIGH,
        reads=("elasticloadbalancing:DescribeListeners", "acm:DescribeCertificate"),
        applies=without_tls,
        why="with an expired certificate no caller connects",
        remedy="ACM renews what DNS still validates: check the domain's validation record",
        controls=("FSBP ACM.1",),
    ),
    Check(
        id="network.endpoints",
        title="tasks reach AWS as configured",
        run=endpoints,
        severity=Severity.MEDIUM,
        reads=(
            "ec2:DescribeVpcEndpoints",
            "ec2:DescribeNatGateways",
            "ec2:DescribeRouteTables",
        ),
        applies=own_network,
        why="without a way out a task cannot pull its image or read its state",
        remedy="./acso deploy creates endpoints, gateways and routes again",
    ),
    Check(
        id="network.targets",
        title="every task is a healthy target",
        run=healthy_targets,
        severity=Severity.CRITICAL,
        reads=("elasticloadbalancing:DescribeTargetHealth",),
        why="the load balancer sends nothing to a target that is not healthy",
        remedy="./acso logs --env ENV --agent NAME; the target's reason says what failed",
        patience=20.0,
    ),
)
