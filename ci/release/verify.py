"""Check the prerequisites of a release before anything is changed.

All checks run in parallel, and none can stop another: every problem is reported.
"""

from collections.abc import Iterable, Sequence

import anyio

from ci.aws.session import Aws, assume
from ci.common.concurrency import parallel
from ci.errors import AcsoError, AwsError
from ci.release.model import Image, ReleaseContext, agents_of
from ci.release.plan.changes import current_services
from ci.release.prerequisites import environment, execution_role
from ci.release.prerequisites.environment import Check
from ci.release.prerequisites.findings import Finding, Subject, Verification

#: Error codes of an AWS endpoint that does not have the operation at all.
NOT_THERE = frozenset({"InvalidAction", "NotImplemented", "UnknownOperationException"})


async def verify(context: ReleaseContext, images: Iterable[Image]) -> Verification:
    """Check everything that a release of these images needs; changes nothing.

    Args:
        context: the environment, its infrastructure applied.
        images: by digest; for an agent without one, the check of its image is skipped.

    Returns:
        All findings; call `raise_for_failure` for the exit code.
    """
    known = {image.agent: image for image in images}
    checks = [
        *environment.checks(context, known),
        *execution_role.checks(context, known, await _as_execution_role(context)),
    ]
    found = await parallel(_findings, checks)
    return Verification(
        environment=context.env.name,
        findings=tuple(item for group in found for item in group),
    )


async def running_images(context: ReleaseContext) -> list[Image]:
    """Return the images that the services run now: `verify` checks them if no release is given."""
    agents = agents_of(context.config, context.env)
    states = await current_services(context, list(agents))
    return [
        Image(agent=agents[name].name, version=state.run.version, reference=state.definition.image)
        for name, state in states.items()
        if state.run and state.definition
    ]


async def _as_execution_role(context: ReleaseContext) -> Aws | None:
    """Return AWS access as the execution role; None if the caller may not assume it (usual)."""
    try:
        return await assume(context.aws, context.outputs.execution_role, name="acso-verify")
    except AwsError:
        return None  # the checks then use IAM's policy simulation


async def _findings(check: Check) -> Sequence[Finding]:
    """Run one check; a check that cannot be run is a finding with status ERROR."""
    subject = check.subject
    try:
        with anyio.fail_after(check.seconds):
            return await check.run(subject)
    except TimeoutError:
        return [subject.error(f"no answer within {check.seconds:g} s")]
    except AwsError as error:
        return [_not_checked(subject, error)]
    except AcsoError as error:
        return [subject.error(str(error), error.hint)]
    except Exception as error:  # a broken check must not hide what the others found
        return [subject.error(f"the check itself failed: {type(error).__name__}: {error}")]


def _not_checked(subject: Subject, error: AwsError) -> Finding:
    if error.code in NOT_THERE:
        return subject.skipped(
            f"this AWS endpoint does not have {error.service} {error.operation}: {error}"
        )
    fix = error.hint
    if error.action:
        fix = f"allow {error.action} for your role, as DeployRole in ci/infra/environment.yaml does"
    return subject.error(str(error), fix, action=error.action)
