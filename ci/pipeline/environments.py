"""The environment that a command acts on: its infrastructure, its prerequisites, its validation."""

from collections.abc import Sequence

import validation
from ci import chaos, infra, release
from ci.aws.target import Target
from ci.errors import UndecidedError, UsageError, ValidationError
from ci.pipeline.probing import probing
from ci.report.progress import stage
from validation import console


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


async def validate(context: release.ReleaseContext) -> validation.Report:
    """Run the suites that a release ends with, until one does not pass.

    They are in acso.toml, environments.NAME.suites. They run again if they are undecided because
    requests could not be sent.

    Raises:
        ProbeError: requests cannot be sent.
    """
    before = context.probe.unsent
    report = await _suites(context)
    undecided = report.verdict is validation.Verdict.UNDECIDED
    if not undecided or context.probe.unsent == before:
        return report
    await context.probe.ready()
    return await _suites(context)


async def _suites(context: release.ReleaseContext) -> validation.Report:
    suites, url = context.env.suites, context.outputs.url
    return await validation.run(suites, context, url, probe=context.probe, stop_early=True)


async def validated(context: release.ReleaseContext, suites: str) -> validation.Report:
    """Return the report of suites (separated by commas; empty: the environment's) that passed.

    Raises:
        ValidationError: a check failed; its details are the whole report.
        UndecidedError: none failed, but some could not look.
        ChaosError: a fault that a killed process left cannot be undone.
    """
    names = [name.strip() for name in suites.split(",")] if suites else context.env.suites
    async with stage("validation") as span, probing(context, span.say) as seen:

        def progress(result: validation.Result) -> None:
            span.say(console.line(result))

        await chaos.undo_left(seen, span.say)
        await seen.probe.ready()
        url = context.outputs.url
        report = await validation.run(names, seen, url, probe=seen.probe, progress=progress)
        span.result = report.counted()
        require_ok(report)
    return report


def require_ok(report: validation.Report) -> None:
    """Raise `ValidationError` or `UndecidedError` unless a report's checks passed."""
    if not report.ok:
        failed = report.verdict is validation.Verdict.FAILED
        kind = ValidationError if failed else UndecidedError
        hint = f"./acso status --env {report.environment}"
        raise kind(report.text(), hint=hint, details=report.data())


def _context(target: Target, outputs: release.Outputs) -> release.ReleaseContext:
    return release.ReleaseContext(
        aws=target.aws,
        config=target.config,
        env=target.env,
        outputs=outputs,
        infrastructure=infra.EnvironmentStack(target=target),
    )
