"""The parameters of both stacks, and the facts behind the environment's generated parts."""

from collections.abc import Mapping

from ci.aws import secrets
from ci.aws.session import Aws
from ci.aws.target import Target
from ci.config import PROTECTED, Config, Environment
from ci.config.access import subnet_ranges
from ci.errors import ConfigError
from ci.infra.generated import HTTP, HTTPS, Facts
from ci.infra.templates import Mapped, key
from ci.infra.trust import DEPLOY, PROMOTE, subjects

MODEL = "anthropic.*"  # the Bedrock models that agents may call, as the end of their ARNs
#: Characters of all secrets' ARNs. Source: IAM User Guide, "IAM and AWS STS quotas": 10,240 for all
#: inline policies of a role.
MOST_SECRETS = 8_500
OWN = "own"  # the value of AccessLogs for a bucket of the stack


def registry_parameters(target: Target, agents: Mapped, *, provider: bool) -> Mapping[str, str]:
    """Return the registry stack's parameters.

    Args:
        target: AWS, and the repository whose workflow may deploy.
        agents: the mapping of the agents that have a repository.
        provider: whether the stack has GitHub's identity provider; an account has only one.
    """
    repository = target.config.project.repository if provider else None
    return {"Agents": ",".join(agents), "Repository": repository or ""} | _where(target.aws)


def environment_parameters(target: Target) -> Mapping[str, str]:
    """Return an environment stack's parameters."""
    config, env = target.config, target.env
    first, last = _ports(config)
    trusted, promoting = (subjects(config, env, kind) for kind in (DEPLOY, PROMOTE))
    return {
        "Environment": env.name,
        "Agents": ",".join(key(agent.name) for agent in config.agents),
        "LogRetention": str(env.log_retention),
        "Exec": _flag(env.ecs_exec),
        # A target group allows no interval below five seconds.
        "HealthInterval": str(max(5, env.health_interval)),
        "FirstPort": str(first),
        "LastPort": str(last),
        "Subjects": ",".join(trusted),
        "PromotionSubjects": ",".join(promoting),
        "Model": MODEL,
        "Scaled": ",".join(agent.name for agent in config.agents if env.task(agent).scaling),
        "Boundary": env.permissions_boundary or "",
        **_access(env),
        **_network(env),
        **_where(target.aws),
    }


def facts(target: Target) -> Facts:
    """Return what the generated parts of an environment's template are made from.

    Raises:
        ConfigError: the execution role cannot be allowed to read so many secrets.
    """
    config, env = target.config, target.env
    read = _secrets(target)
    size = sum(len(arn) for arn in read)
    if size > MOST_SECRETS:
        message = (
            f"{env.name}: its {len(read)} secrets are too many for the execution role's policy"
        )
        hint = "keep several values in one secret, and name them by NAME:json-key"
        raise ConfigError(message, hint=hint)
    return Facts(
        listeners=(HTTPS if env.encrypted else HTTP,),
        cidrs=env.load_balancer.allowed_cidrs,
        secrets=tuple(sorted(read)),
        policies={
            key(agent.name): config.policies[agent.name]
            for agent in config.agents
            if agent.name in config.policies
        },
        subscriptions=env.subscriptions,
    )


def _secrets(target: Target) -> set[str]:
    """Return what the execution role reads for the agents' secrets."""
    env = target.env
    return {
        secrets.policy_resource(secrets.reference(text, target.aws, env))
        for agent in target.config.agents
        for text in env.task(agent).secrets.values()
    }


def _access(env: Environment) -> dict[str, str]:
    found = env.load_balancer
    protected = found.deletion_protection
    return {
        "Tls": _flag(env.encrypted),
        "Redirect": _flag(env.encrypted),
        "Domain": env.domain or "",
        "HostedZone": env.hosted_zone or "",
        "Certificate": env.certificate or "",
        "Internal": _flag(found.internal),
        "AccessLogs": (found.access_logs_bucket or OWN) if found.access_logs else "",
        "DeletionProtection": _flag(env.name == PROTECTED if protected is None else protected),
        "WebAcl": found.web_acl or "",
    }


def _network(env: Environment) -> dict[str, str]:
    found = env.network
    return {
        "VpcId": found.vpc or "",
        "PrivateSubnets": ",".join(found.private_subnets),
        "PublicSubnets": ",".join(found.public_subnets),
        "VpcCidr": found.vpc_cidr,
        "SubnetCidrs": ",".join(subnet_ranges(found.vpc_cidr)),
        "NatGateways": found.nat,
        "Endpoints": _flag(found.nat == "none" and not found.vpc),
    }


def _ports(config: Config) -> tuple[int, int]:
    """Return the lowest and the highest port of an agent, for the security groups."""
    ports = [agent.port for agent in config.agents]
    return min(ports), max(ports)


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _where(aws: Aws) -> dict[str, str]:
    return {"Embedded": _flag(aws.endpoint is not None)}
