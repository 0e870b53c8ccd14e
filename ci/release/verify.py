"""Looking, before anything is changed, whether a release has all that it stands on.

Every look runs, all at once, and none can stop another: what is wrong is told whole.
"""

from collections.abc import Iterable, Sequence

import anyio

from ci.aws.session import Aws, assume
from ci.common.concurrency import parallel
from ci.errors import AcsoError, AwsError
from ci.release.model import Image, ReleaseContext, agents_of
from ci.release.plan.changes import current_services
from ci.release.prerequisites import environment, execution_role
from ci.release.prerequisites.environment import Look
from ci.release.prerequisites.findings import Finding, Subject, Verification

SECONDS = 30.0  # that one look may take
#: Codes by which an AWS says that it does not have an operation at all.
NOT_THERE = frozenset({"InvalidAction", "NotImplemented", "UnknownOperationException"})


async def verify(context: ReleaseContext, images: Iterable[Image]) -> Verification:
    """Look at everything that a release of these images needs; changes nothing.

    Args:
        context: the environment, its infrastructure applied.
        images: by digest; the image of an agent without one is skipped.

    Returns:
        All findings; call `raise_for_failure` for the exit code.
    """
    known = {image.agent: image for image in images}
    looks = [
        *environment.looks(context, known),
        *execution_role.looks(context, known, await _as_execution_role(context)),
    ]
    found = await parallel(_findings, looks)
    return Verification(
        environment=context.environment.name,
        findings=tuple(item for group in found for item in group),
    )


async def running_images(context: ReleaseContext) -> list[Image]:
    """Return the images that the services run now: what `verify` looks at without a release."""
    agents = agents_of(context.config, context.environment)
    states = await current_services(context, list(agents))
    return [
        Image(agent=agents[name].name, version=state.run.version, reference=state.definition.image)
        for name, state in states.items()
        if state.run and state.definition
    ]


async def _as_execution_role(context: ReleaseContext) -> Aws | None:
    """Return AWS as the execution role sees it, if who asks may see it so; mostly nobody may."""
    try:
        return await assume(context.aws, context.outputs.execution_role, name="acso-verify")
    except AwsError:
        return None  # IAM's simulation answers then; what else is wrong, the other looks tell


async def _findings(look: Look) -> Sequence[Finding]:
    """Take one look; that it could not be taken is a finding too."""
    subject = look.subject
    try:
        with anyio.fail_after(SECONDS):
            return await look.take(subject)
    except TimeoutError:
        return [subject.unseen(f"no answer within {SECONDS:g} s")]
    except AwsError as error:
        return [_unseen(subject, error)]
    except AcsoError as error:
        return [subject.unseen(str(error), error.hint)]
    except Exception as error:  # a broken look must not hide what the others found
        return [subject.unseen(f"the look itself failed: {type(error).__name__}: {error}")]


def _unseen(subject: Subject, error: AwsError) -> Finding:
    if error.code in NOT_THERE:
        return subject.skipped(f"this AWS has no {error.service} {error.operation}: {error}")
    fix = error.hint
    if error.action:
        fix = f"allow who asks {error.action}, as DeployRole in ci/infra/environment.yaml does"
    return subject.unseen(str(error), fix, action=error.action)
