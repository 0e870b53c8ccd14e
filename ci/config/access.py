"""Checks of names and certificates, the load balancer, the network, and what all roles share."""

import ipaddress
import re
from collections.abc import Iterable

from ci.config.environments import HTTP, NATS, Environment, LoadBalancer, Network
from ci.config.problems import BadKeyError, require, require_match

ARN = r"arn:aws[a-z-]*:{service}:{region}:{account}:{rest}"
DOMAIN = r"(\*\.)?([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}"
BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
#: Source: Amazon VPC User Guide, "VPC CIDR blocks" and "Subnet sizing": from /16, and four subnets
#: of a /22 have 251 addresses each.
PREFIXES = range(16, 23)
SUBNETS = 2  # at least: a load balancer needs two zones
OURS = ("project", "environment", "agent", "Name")  # tags that the pipeline sets
#: Source: Tagging AWS Resources, "Tag naming limits and requirements".
TAG = r"[\w .:/=+\-@]"
MAIL = r"[^@\s]+@[^@\s]+\.[^@\s]+"
TOPICS = r"arn:aws[a-z-]*:(sqs|lambda):.+"


def check(environment: Environment) -> None:
    """Raise `BadKeyError` for values of one environment that are impossible together."""
    where = f"environments.{environment.name}"
    _check_names(environment, where)
    _check_load_balancer(environment, environment.load_balancer, f"{where}.load_balancer")
    _check_network(environment, environment.network, f"{where}.network")
    boundary = ARN.format(service="iam", region="", account=r"(\d{12}|aws)", rest="policy/.+")
    require_match(
        boundary,
        environment.permissions_boundary,
        f"{where}.permissions_boundary",
        "the ARN of a policy",
    )
    for number, endpoint in enumerate(environment.subscriptions):
        known = re.fullmatch(f"{MAIL}|https://.+|{TOPICS}", endpoint)
        at = f"{where}.subscriptions[{number}]"
        require(known, at, "must be a mail address, an https URL, or an ARN")
    _check_tags(environment, f"{where}.tags")


def check_domains(environments: Iterable[Environment]) -> None:
    """Raise `BadKeyError` if two environments have the same domain."""
    taken: dict[str, str] = {}
    for environment in environments:
        if environment.domain is None:
            continue
        other = taken.setdefault(environment.domain, environment.name)
        message = f"{environment.domain!r} is already the domain of {other}"
        require(other == environment.name, f"environments.{environment.name}.domain", message)


def subnet_ranges(cidr: str) -> tuple[str, str, str, str]:
    """Return the ranges of the private subnets A and B, and of the public subnets A and B.

    A /16 keeps those that every network had before its range could be chosen.
    """
    network = ipaddress.IPv4Network(cidr)
    if network.prefixlen == PREFIXES.start:
        parts = list(network.subnets(new_prefix=24))
        found = [parts[number] for number in (1, 2, 101, 102)]
    else:
        found = list(network.subnets(prefixlen_diff=2))
    first, second, third, fourth = map(str, found)
    return first, second, third, fourth


def _check_names(environment: Environment, where: str) -> None:
    tls, domain = environment.tls, environment.domain
    zone, certificate = environment.hosted_zone, environment.certificate
    require(tls in (None, HTTP), f"{where}.tls", f"must be {HTTP!r}, or absent")
    require_match(DOMAIN, domain, f"{where}.domain", "a DNS name, such as acso.example.com")
    require_match(
        "Z[A-Z0-9]+", zone, f"{where}.hosted_zone", "the id of a zone, such as Z0123456789"
    )
    _check_arn(environment, "acm", "certificate/.+", certificate, f"{where}.certificate")
    require(
        not (tls and certificate), f"{where}.tls", f"{HTTP!r} and `certificate`: set one of them"
    )
    for name, value in (("certificate", certificate), ("hosted_zone", zone)):
        require(domain or not value, f"{where}.domain", f"missing: `{name}` needs it")
    complete = not domain or zone or certificate
    require(complete, f"{where}.hosted_zone", "missing: `domain` needs it, or a `certificate`")


def _check_arn(
    environment: Environment, service: str, rest: str, value: str | None, where: str
) -> None:
    """Check an ARN of the environment's account and region."""
    account = environment.account or r"\d{12}"
    pattern = ARN.format(service=service, region=environment.region, account=account, rest=rest)
    mine = f" of {environment.account}" if environment.account else ""
    require_match(pattern, value, where, f"an ARN of {service} in {environment.region}{mine}")


def _check_load_balancer(environment: Environment, found: LoadBalancer, where: str) -> None:
    _check_arn(environment, "wafv2", "regional/webacl/.+", found.web_acl, f"{where}.web_acl")
    require(found.allowed_cidrs, f"{where}.allowed_cidrs", "must have at least one range")
    for number, cidr in enumerate(found.allowed_cidrs):
        _cidr(f"{where}.allowed_cidrs[{number}]", cidr)
    bucket = found.access_logs_bucket
    require_match(BUCKET, bucket, f"{where}.access_logs_bucket", "the name of a bucket")
    logged = found.access_logs or not bucket
    require(logged, f"{where}.access_logs", "must be true for `access_logs_bucket`")


def _check_network(environment: Environment, found: Network, where: str) -> None:
    require_match("vpc-[0-9a-f]+", found.vpc, f"{where}.vpc", "the id of a VPC")
    for key in ("private_subnets", "public_subnets"):
        subnets = getattr(found, key)
        for number, subnet in enumerate(subnets):
            at = f"{where}.{key}[{number}]"
            require_match("subnet-[0-9a-f]+", subnet, at, "the id of a subnet")
        needed = found.vpc and (key == "private_subnets" or not environment.load_balancer.internal)
        enough = len(set(subnets)) >= SUBNETS or not needed
        require(enough, f"{where}.{key}", f"an existing VPC needs {SUBNETS} or more of them")
        require(found.vpc or not subnets, f"{where}.vpc", f"missing: `{key}` needs it")
    require(found.nat in NATS, f"{where}.nat", f"must be one of {', '.join(NATS)}")
    network = _cidr(f"{where}.vpc_cidr", found.vpc_cidr)
    sizes = f"must have a size from /{PREFIXES.start} to /{PREFIXES.stop - 1}"
    require(network.prefixlen in PREFIXES, f"{where}.vpc_cidr", sizes)
    own = Network()
    for key in ("vpc_cidr", "nat"):
        same = getattr(found, key) == getattr(own, key)
        require(same or not found.vpc, f"{where}.{key}", "not possible in an existing VPC")


def _cidr(where: str, text: str) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Network(text)
    except ValueError as error:
        raise BadKeyError(where, f"must be an IPv4 range, such as 10.0.0.0/16: {error}") from None


def _check_tags(environment: Environment, where: str) -> None:
    for name, value in environment.tags.items():
        at = f"{where}.{name}"
        require(name not in OURS, at, "the pipeline sets this tag itself")
        good = re.fullmatch(TAG + "{1,128}", name) and not name.lower().startswith("aws:")
        require(good, at, "must be a tag's name: letters, digits, spaces and . : / = + - @ _")
        require(re.fullmatch(TAG + "{0,256}", value), at, "must be a tag's value")
