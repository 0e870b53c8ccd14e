"""An environment's settings, and the AWS names derived from them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from ci.config.agents import Agent, Scaling, Size, Task
from ci.config.settings import About
from ci.config.validating import Accepted, Thresholds

PROTECTED = "production"  # the environment whose data and stack are protected
DEVELOPMENT = "development"  # the environment that needs no TLS
HTTP = "none"  # the value of `tls` that allows a listener without TLS
#: The tests of agents and of the pipeline, and all quality gates.
TESTS = ("agent-tests", "pipeline-tests")
CHECKS = ("lint", "typecheck", "security", *TESTS)
NATS = ("none", "one", "per-zone")  # from the fewest gateways to the most


@dataclass(frozen=True, kw_only=True)
class LoadBalancer:
    """Who reaches the load balancer, and what it keeps."""

    internal: Annotated[
        bool, About("reachable from the network only; fixed once the environment exists")
    ] = False
    allowed_cidrs: Annotated[
        tuple[str, ...], About("address ranges that may connect", "IPv4 CIDR", "stack")
    ] = ("0.0.0.0/0",)
    access_logs: Annotated[bool, About("whether requests are logged to S3", "", "stack")] = False
    access_logs_bucket: Annotated[
        str | None,
        About("bucket of the region for the logs, instead of the environment's own", "", "stack"),
    ] = None
    deletion_protection: Annotated[
        bool | None,
        About("whether AWS refuses to delete it; by default in production", "", "stack"),
    ] = None
    web_acl: Annotated[str | None, About("ARN of a WAF web ACL of the region", "", "stack")] = None


@dataclass(frozen=True, kw_only=True)
class Network:
    """The network: one of its own, or an existing VPC with its subnets."""

    vpc: Annotated[str | None, About("an existing VPC; fixed once the environment exists")] = None
    private_subnets: Annotated[
        tuple[str, ...],
        About("subnets of that VPC for the tasks, in two zones or more", "", "service"),
    ] = ()
    public_subnets: Annotated[
        tuple[str, ...],
        About("subnets of that VPC for the load balancer, in two zones or more", "", "stack"),
    ] = ()
    vpc_cidr: Annotated[
        str,
        About(
            "address range of a network of its own; fixed once it exists", "IPv4 CIDR, /16 to /22"
        ),
    ] = "10.0.0.0/16"
    nat: Annotated[
        str,
        About(
            "NAT gateways of a network of its own: `one`, `per-zone`, or `none` (VPC endpoints "
            "instead; tasks reach AWS only)",
            "",
            "stack",
        ),
    ] = "one"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One environment."""

    name: str
    region: Annotated[str, About("AWS region; fixed once the environment exists")]
    desired_count: Annotated[int, About("number of tasks of an agent", "tasks", "service")]
    cpu: Annotated[int, About("CPU of a task", "CPU units", "tasks")]
    memory: Annotated[int, About("memory of a task", "MiB", "tasks")]
    strategy: Annotated[str, About("how services move to new revisions", "", "service")]
    failure_threshold: Annotated[
        int, About("stopped tasks of a new deployment that make it a failure", "tasks")
    ]
    health_interval: Annotated[int, About("time between health checks", "seconds", "tasks")]
    health_grace: Annotated[
        int, About("time that a new task may take to become healthy", "seconds", "tasks")
    ]
    deploy_timeout: Annotated[int, About("time that a rollout may take", "seconds")]
    rollback_timeout: Annotated[int, About("time that the way back may take", "seconds")]
    validation_timeout: Annotated[
        int, About("time that validation may take, all suites", "seconds")
    ]
    bake_time: Annotated[
        int, About("time that all must stay well before a release is a success", "seconds")
    ]
    keep_releases: Annotated[int, About("release records that are kept", "releases")]
    keep_revisions: Annotated[
        int, About("newest task definitions kept beside those in use or listed", "revisions")
    ]
    log_retention: Annotated[int, About("time that logs are kept", "days", "stack")]
    ecs_exec: Annotated[
        bool, About("commands in running tasks; their root becomes writable", "", "tasks")
    ]
    account: Annotated[str | None, About("AWS account, twelve digits")] = None
    branch: Annotated[str | None, About("branch whose pushes release to it", "", "stack")] = None
    event: Annotated[
        str | None, About("`release`: a published GitHub release releases to it", "", "stack")
    ] = None
    promotes_from: Annotated[
        str | None, About("environment whose validated releases it gets", "", "stack")
    ] = None
    domain: Annotated[
        str | None, About("DNS name of the load balancer, such as acso.example.com", "", "stack")
    ] = None
    hosted_zone: Annotated[
        str | None,
        About("id of the Route 53 hosted zone for the domain's records", "", "stack"),
    ] = None
    certificate: Annotated[
        str | None,
        About("ARN of the domain's ACM certificate, instead of a new one", "", "stack"),
    ] = None
    tls: Annotated[
        str | None, About("`none` allows a load balancer without TLS outside development")
    ] = None
    load_balancer: LoadBalancer = field(default_factory=LoadBalancer)
    network: Network = field(default_factory=Network)
    scaling: Scaling | None = None
    model: Annotated[
        str | None,
        About(
            "id of the Bedrock model (or inference profile) that agents may ask; none: rules alone",
            "",
            "tasks",
        ),
    ] = None
    permissions_boundary: Annotated[
        str | None, About("ARN of the policy that bounds every role", "", "stack")
    ] = None
    subscriptions: Annotated[
        tuple[str, ...],
        About(
            "who gets alarms and notifications: mail addresses, https URLs, or ARNs of queues and "
            "functions",
            "",
            "stack",
        ),
    ] = ()
    tags: Annotated[Mapping[str, str], About("tags of all its resources", "", "stack")] = field(
        default_factory=dict
    )
    import_existing: Annotated[
        bool,
        About("whether a new stack takes over the tables and logs that production's last one kept"),
    ] = False
    checks: Annotated[
        tuple[str, ...],
        About(
            "quality gates that `deploy` runs: "
            + ", ".join(f"`{name}`" for name in CHECKS)
            + "; `check` and CI run all of them"
        ),
    ] = CHECKS
    suites: Annotated[
        tuple[str, ...], About("suites that a release is validated by, in their order")
    ] = ("smoke",)
    thresholds: Thresholds = field(default_factory=Thresholds)
    exceptions: Mapping[str, Accepted] = field(default_factory=dict)
    agents: Mapping[str, Size] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """Prefix of the environment's resource names; also the name of its stack."""
        return f"acso-{self.name}"

    @property
    def cluster(self) -> str:
        """Name of the ECS cluster."""
        return f"{self.prefix}-cluster"

    @property
    def log_group(self) -> str:
        """Name of the log group that all agents of the environment write to."""
        return f"/aws/acso/{self.name}/agents"

    @property
    def encrypted(self) -> bool:
        """Whether its load balancer has a listener with TLS."""
        return self.domain is not None and self.tls != HTTP

    def service(self, agent: Agent) -> str:
        """Name of an agent's ECS service, and of its task definition family."""
        return f"{self.prefix}-{agent.name}"

    def task(self, agent: Agent) -> Task:
        """Return what an agent has: its own in the environment, otherwise the environment's."""
        own = self.agents.get(agent.name, Size())
        scaling = own.scaling or (self.scaling if own.desired_count is None else None)
        count = self.desired_count if own.desired_count is None else own.desired_count
        return Task(
            cpu=own.cpu or self.cpu,
            memory=own.memory or self.memory,
            desired_count=scaling.min if scaling else count,
            scaling=scaling,
            environment={**agent.environment, **own.environment},
            secrets={**agent.secrets, **own.secrets},
        )
