"""The environment that a command acts on: its infrastructure, its prerequisites, its validation."""

from collections.abc import Sequence

import validation
from ci import infra, release
from ci.aws.target import Target
from ci.errors import UsageError
from ci.pipeline.probing import probing
from ci.report.progress import stage


async def find(target: Target) -> release.ReleaseContext | None:
    """Return a deployed environment, None if its infrastructure was never applied."""
    outputs = await infra.outputs(target)
    return _context(target, outputs) if outputs else None


async def find_to_plan(target: Target) -> release.ReleaseContext | None:
    """Return a deployed environment as a plan sees it, None if its infrastructure does not exist.

    Agents that were added to acso.toml since have placeholders for their resources, so that a plan
    shows their services as created.
    """
    outputs = await infra.outputs(target)
    return _context(target, infra.with_new_agents(outputs, target.config)) if outputs else None


async def existing(target: Target) -> release.ReleaseContext:
    """Return a deployed environment; raises `UsageError` if it was never deployed."""
    context = await find(target)
    if context is None:
        name = target.env.name
        message = f"nothing was ever deployed to {name}"
        raise UsageError(message, hint=f"./acso deploy --env {name}")
    return context


async def require_unlocked(target: Target, say: release.Say) -> None:
    """Raise `LockedError` if another process releases to this environment now.

    For before long work that ends in taking the lock; the lock itself is taken later.
    """
    context = await find(target)
    if context:
        await release.refuse_if_locked(context, say)


async def prepare(target: Target) -> release.ReleaseContext:
    """Apply the registry's stack, and the environment's if it does not exist yet.

    An existing environment's stack is changed by the release itself, under the environment's lock.

    Raises:
        InfrastructureError: CloudFormation could not apply one of them.
    """
    async with stage("infrastructure") as span:
        await infra.apply_registry(target, span.say)
        outputs = await infra.outputs(target)
        if outputs is None:
            stack = infra.EnvironmentStack(target=target)
            outputs = await stack.extend(stack.desired(), span.say)
    return _context(target, outputs)


async def verify(
    context: release.ReleaseContext, images: Sequence[release.Image]
) -> release.Verification:
    """Check all that a release of these images needs; raises `VerifyError` with every problem."""
    async with stage("verify") as span, probing(context, span.say, images) as seen:
        verification = await release.verify(seen, images)
        span.result = verification.summary()
        verification.raise_for_failure()
    return verification


async def smoke(context: release.ReleaseContext) -> validation.Report:
    """Run the smoke suite on an environment: the validation that a release ends with."""
    return await validate("smoke", context)


async def validate(suite: str, context: release.ReleaseContext) -> validation.Report:
    """Run a suite on an environment; again if it failed while requests could not be sent.

    Raises:
        ProbeError: requests cannot be sent.
    """
    before = context.probe.unsent
    report = await validation.run(suite, context, context.outputs.url, context.probe)
    if report.ok or context.probe.unsent == before:
        return report
    await context.probe.ready()
    return await validation.run(suite, context, context.outputs.url, context.probe)


def _context(target: Target, outputs: release.Outputs) -> release.ReleaseContext:
    return release.ReleaseContext(
        aws=target.aws,
        config=target.config,
        env=target.env,
        outputs=outputs,
        infrastructure=infra.EnvironmentStack(target=target),
    )
