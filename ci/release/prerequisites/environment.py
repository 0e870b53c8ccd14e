"""One check for each prerequisite: account, cluster, images, roles, network, targets, logs."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from ci.aws import ec2, ecr, ecs, elb, iam, logs
from ci.aws.session import check_account
from ci.config import Agent
from ci.config.environments import DEVELOPMENT, HTTP
from ci.errors import ProbeError, WrongAccountError
from ci.release.model import Image, ReleaseContext
from ci.release.plan import desired
from ci.release.prerequisites.findings import Finding, Subject

TASKS = "ecs-tasks.amazonaws.com"
#: ECS's names of processor architectures, and the names in image manifests.
ARCHITECTURES = {"X86_64": "amd64", "ARM64": "arm64"}
#: CloudFormation does not notice changes made by hand, so applying the stack again fixes nothing.
RESTORE = "restore what ci/infra/environment.yaml defines; to find other changes made by hand: "


CHECK_SECONDS = 30.0  # at most, for one check
#: The task that looks at an internal load balancer pulls its image, and may be started twice.
PROBE_SECONDS = 300.0
PROBE_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check: its subject, the function that checks it, and the seconds that it may take."""

    subject: Subject
    run: Callable[[Subject], Awaitable[Sequence[Finding]]]
    seconds: float = CHECK_SECONDS


def checks(context: ReleaseContext, images: Mapping[str, Image]) -> Iterator[Check]:
    """Yield every check except those of the execution role's permissions; pure."""
    outputs = context.outputs

    def check(what: str, resource: str, run: Callable[..., Awaitable[Sequence[Finding]]]) -> Check:
        return Check(subject=Subject(what=what, resource=resource), run=partial(run, context))

    yield check("account and region", context.env.account or "", _account)
    yield check("cluster", outputs.cluster, _cluster)
    yield check("log group", outputs.log_group, _log_group)
    yield check("subnets", ", ".join(outputs.subnets), _subnets)
    yield check("security group", outputs.security_group, _security_group)
    yield check("TLS", f"{context.env.prefix}-alb", _tls)
    if context.env.load_balancer.internal:
        probe = check("internal load balancer", outputs.url, _reachable)
        yield replace(probe, seconds=PROBE_SECONDS)
    yield check("execution role", outputs.execution_role, _role)
    for agent in context.config.agents:
        name = agent.name
        image = images.get(name)
        reference = image.reference if image else agent.repository
        yield check(f"image of {name}", reference, partial(_image, agent=agent, image=image))
        role = outputs.task_roles.get(name, "")
        yield check(f"role of {name}", role, _role)
        group = outputs.target_groups.get(name, "")
        yield check(f"target group of {name}", group, partial(_target_group, agent=agent))


def repository(reference: str) -> str:
    """Return the repository of `HOST/REPOSITORY@sha256:...`."""
    return reference.partition("/")[2].partition("@")[0]


async def _account(context: ReleaseContext, subject: Subject) -> Sequence[Finding]:
    try:
        await check_account(context.aws, context.env)
    except WrongAccountError as error:
        return [subject.failed(str(error), error.hint)]
    return [subject.passed(f"{await context.aws.account()} in {context.aws.region}")]


async def _cluster(context: ReleaseContext, subject: Subject) -> Sequence[Finding]:
    status = await ecs.cluster_status(context.aws, subject.resource)
    if status == "ACTIVE":
        return [subject.passed("ACTIVE")]
    return [subject.failed(status or "does not exist", _restore_by_hand(context))]


async def _log_group(context: ReleaseContext, subject: Subject) -> Sequence[Finding]:
    if await logs.group_exists(context.aws, subject.resource):
        return [subject.passed("exists")]
    fix = f"aws logs create-log-group --log-group-name {subject.resource}"
    return [subject.failed("does not exist: no task could start", fix)]


async def _subnets(context: ReleaseContext, subject: Subject) -> Sequence[Finding]:
    found = await ec2.subnets(context.aws, context.outputs.subnets)
    missing = [id_ for id_ in context.outputs.subnets if id_ not in found]
    problems = [f"{id_} does not exist" for id_ in missing]
    problems += [f"{s.id} is {s.state}" for s in found.values() if s.state != "available"]
    if len({subnet.vpc for subnet in found.values()}) > 1:
        problems.append("the subnets are in different VPCs")
    if problems:
        return [subject.failed(problem, _restore_by_hand(context)) for problem in problems]
    return [subject.passed(f"{len(found)} available")]


async def _security_group(context: ReleaseContext, subject: Subject) -> Sequence[Finding]:
    found = await ec2.security_group(context.aws, subject.resource)
    if found is None:
        return [subject.failed("does not exist", _restore_by_hand(context))]
    subnets = await ec2.subnets(context.aws, context.outputs.subnets)
    problems = [
        f"does not allow port {port}"
        for port in sorted({agent.port for agent in context.config.agents})
        if not found.allows(port)
    ]
    if subnets and found.vpc not in {subnet.vpc for subnet in subnets.values()}:
        problems.append(f"is in {found.vpc}, the subnets are in another VPC")
    if problems:
        return [subject.failed(problem, _restore_by_hand(context)) for problem in problems]
    return [subject.passed("allows the agents' ports")]


async def _tls(context: ReleaseContext, subject: Subject) -> Sequence[Finding]:
    """Check that clients reach the load balancer by HTTPS."""
    env = context.env
    if env.encrypted:
        return [subject.passed(f"HTTPS for {env.domain}")]
    if env.name == DEVELOPMENT or env.tls == HTTP:
        return [subject.passed("plain HTTP, as acso.toml allows")]
    if context.aws.endpoint is not None:
        return [subject.skipped("this AWS endpoint is not AWS's own")]
    fix = (
        f"set domain, and hosted_zone or certificate, in [environments.{env.name}] of acso.toml; "
        f'or tls = "{HTTP}" to allow plain HTTP'
    )
    return [subject.failed("the load balancer has no listener with TLS", fix)]


async def _reachable(context: ReleaseContext, subject: Subject) -> Sequence[Finding]:
    """Check that a load balancer that is open to its network only can be looked at.

    Without that a release could not see its agents answer, and would be rolled back.
    """
    try:
        answer = await _looked_at(context)
    except ProbeError as error:
        return [subject.error(str(error), error.hint)]
    if answer.status:
        return [subject.passed(f"answers with HTTP {answer.status}")]
    return [subject.failed(f"does not answer: {answer.error}", _restore_by_hand(context))]


async def _looked_at(context: ReleaseContext) -> elb.Answer:
    """Return what the load balancer answers; ask again if the prober ends meanwhile."""
    error = ""
    for _ in range(PROBE_ATTEMPTS):
        await context.probe.ready()
        answer = await context.probe.get(f"{context.outputs.url.rstrip('/')}/")
        if answer.examined:
            return answer
        error = answer.error
    raise ProbeError(error, hint=f"./acso verify --env {context.env.name} tries again")


async def _role(context: ReleaseContext, subject: Subject) -> Sequence[Finding]:
    if not subject.resource:
        return [_not_applied(context, subject)]
    found = await iam.role(context.aws, subject.resource.rpartition("/")[2])
    if found is None:
        return [subject.failed("does not exist", _restore_by_hand(context))]
    if not found.trusts(TASKS, subject.resource.split(":")[4]):
        message = f"does not trust {TASKS} for this account"
        return [subject.failed(message, _restore_by_hand(context), action="sts:AssumeRole")]
    return [subject.passed(f"trusts {TASKS}")]


async def _image(
    context: ReleaseContext, subject: Subject, *, agent: Agent, image: Image | None
) -> Sequence[Finding]:
    publish = f"./acso publish --env {context.env.name}"
    if image is None:
        return [subject.skipped("no service of this agent runs yet")]
    if not image.digest:
        return [subject.failed("is not referenced by digest", publish)]
    found = await ecr.platforms(context.aws, repository(image.reference), image.digest)
    if found is None:
        return [subject.failed("is not in the registry", publish)]
    needed = _platform(context, agent, image)
    if needed not in found:
        message = f"is for {', '.join(found) or 'no platform'}, the task needs {needed}"
        return [subject.failed(message, f"build it for {needed}")]
    return [subject.passed(f"{needed}, {image.digest[:19]}")]


async def _target_group(
    context: ReleaseContext, subject: Subject, *, agent: Agent
) -> Sequence[Finding]:
    if not subject.resource:
        return [_not_applied(context, subject)]
    found = await elb.target_group(context.aws, subject.resource)
    if found is None:
        return [subject.failed("does not exist", _restore_by_hand(context))]
    expected = {
        "target type": (found.kind, "ip"),
        "protocol": (found.protocol, "HTTP"),
        "health path": (found.health_path, agent.health_path),
        # The port of each task, as ECS registers it.
        "health port": (found.health_port, "traffic-port"),
    }
    wrong = {name: pair for name, pair in expected.items() if pair[0] != pair[1]}
    if not wrong:
        return [subject.passed(f"HTTP {found.health_path}")]
    return [
        subject.failed(f"{name} is {actual}, not {meant}", _fix(context, subject, name, agent))
        for name, (actual, meant) in wrong.items()
    ]


def _fix(context: ReleaseContext, subject: Subject, name: str, agent: Agent) -> str:
    """Return how to fix a target group; only its health check can be changed in place."""
    flags = {
        "health path": f"--health-check-path {agent.health_path}",
        "health port": "--health-check-port traffic-port",
    }
    if name not in flags:
        return _restore_by_hand(context)
    return f"aws elbv2 modify-target-group --target-group-arn {subject.resource} {flags[name]}"


def _platform(context: ReleaseContext, agent: Agent, image: Image) -> str:
    """Return the platform of an agent's tasks as image manifests name it, such as linux/amd64."""
    asked = desired.task_definition(context, agent, image).get("runtimePlatform", {})
    system = str(asked.get("operatingSystemFamily", "LINUX")).partition("_")[0].lower()
    return f"{system}/{ARCHITECTURES[asked.get('cpuArchitecture', 'X86_64')]}"


def _not_applied(context: ReleaseContext, subject: Subject) -> Finding:
    message = "the agent is in acso.toml, but not yet in the infrastructure"
    return subject.failed(message, f"./acso deploy --env {context.env.name}")


def _restore_by_hand(context: ReleaseContext) -> str:
    return f"{RESTORE}aws cloudformation detect-stack-drift --stack-name {context.env.prefix}"
