"""Permissions of the execution role: pull the images, write the logs, read the secrets.

IAM simulates the role's policies. If the caller may assume the role, the actions are tried too.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ci.aws import ecr, iam, secrets
from ci.aws.secrets import Secret
from ci.aws.session import Aws
from ci.errors import AwsError
from ci.release.model import Image, ReleaseContext
from ci.release.plan import desired
from ci.release.prerequisites.environment import Check, repository
from ci.release.prerequisites.findings import Finding, Subject

LOGIN = "ecr:GetAuthorizationToken"
PULL = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
WRITE = ("logs:CreateLogStream", "logs:PutLogEvents")
#: Tries an action as the role; returns a problem other than a denied permission, or "".
Attempt = Callable[[Aws], Awaitable[str]]


@dataclass(frozen=True, kw_only=True)
class Permission:
    """Actions that the role needs on one resource; `attempt` tries them if that changes nothing."""

    what: str
    actions: tuple[str, ...]
    resource: str
    attempt: Attempt | None = None


def checks(
    context: ReleaseContext, images: Mapping[str, Image], assumed: Aws | None
) -> Iterator[Check]:
    """Yield a check for each permission; `assumed` is AWS access as the role, if there is any."""
    for need in permissions(context, images):
        subject = Subject(what=f"execution role: {need.what}", resource=need.resource)
        yield Check(subject=subject, run=partial(_allowed, context, need, assumed))


def permissions(context: ReleaseContext, images: Mapping[str, Image]) -> Iterator[Permission]:
    """Yield the permissions needed for these images and for the agents' secrets; pure."""
    _, partition, _, _, account, _ = context.outputs.execution_role.split(":", 5)
    here = f"{context.env.region}:{account}"
    yield Permission(
        what="log in to the registry", actions=(LOGIN,), resource="*", attempt=_logs_in
    )
    # The images of several agents may be in one repository, which is checked once.
    pulled = {repository(image.reference): image for image in images.values() if image.digest}
    for name, image in pulled.items():
        yield Permission(
            what=f"pull {name}",
            actions=PULL,
            resource=f"arn:{partition}:ecr:{here}:repository/{name}",
            attempt=partial(_pulls, name, image),
        )
    stream = f"log-group:{context.outputs.log_group}:log-stream:any"
    yield Permission(
        what="write logs", actions=WRITE, resource=f"arn:{partition}:logs:{here}:{stream}"
    )
    named = partial(secrets.parse, partition=partition, region=context.env.region, account=account)
    for value_from in _secrets(context):
        secret = named(value_from)
        yield Permission(
            what=f"read {secret.arn.rpartition(':')[2]}",
            actions=(secret.action,),
            resource=secret.simulated,
            attempt=partial(_reads, secret),
        )


async def _allowed(
    context: ReleaseContext, need: Permission, assumed: Aws | None, subject: Subject
) -> Sequence[Finding]:
    attempt = need.attempt if assumed else None
    try:
        denied = await iam.denied_actions(
            context.aws, context.outputs.execution_role, need.actions, need.resource
        )
        ways = ["simulated"]
    except AwsError as error:
        if not error.action or attempt is None:
            raise
        denied, ways = [], []  # the caller may not simulate, but can try as the role
    problems = [_denied(context, subject, action) for action in denied]
    if assumed and attempt:
        problems += await _tried(context, subject, attempt, assumed)
        ways.append("tried")
    return problems or [subject.passed(f"allowed ({' and '.join(ways)})")]


async def _tried(
    context: ReleaseContext, subject: Subject, attempt: Attempt, assumed: Aws
) -> list[Finding]:
    try:
        wrong = await attempt(assumed)
    except AwsError as error:
        if not error.action:
            raise
        return [_denied(context, subject, error.action)]
    return [
        subject.failed(wrong, "create it, or correct its name in the agent's task definition")
    ] * bool(wrong)


def _denied(context: ReleaseContext, subject: Subject, action: str) -> Finding:
    role = context.outputs.execution_role.rpartition("/")[2]
    fix = f"allow {action} on {subject.resource} in the policy of {role}"
    return subject.failed(f"{action} is not allowed", fix, action=action)


async def _logs_in(assumed: Aws) -> str:
    await ecr.login(assumed)
    return ""


async def _pulls(name: str, image: Image, assumed: Aws) -> str:
    # A missing image is reported by the check of the image.
    await ecr.platforms(assumed, name, image.digest)
    return ""


async def _reads(secret: Secret, assumed: Aws) -> str:
    return await secrets.problem(assumed, secret)


def _secrets(context: ReleaseContext) -> list[str]:
    """Return the `valueFrom` of each secret in the agents' containers, without duplicates."""
    found: dict[str, None] = {}
    for agent in context.config.agents:
        if agent.name not in context.outputs.task_roles:
            continue  # not applied yet, which the check of its role reports
        image = Image(agent=agent.name, version="")
        for container in desired.task_definition(context, agent, image)["containerDefinitions"]:
            found |= dict.fromkeys(item["valueFrom"] for item in container.get("secrets", ()))
    return list(found)
