"""Deploy: from images to a validated release, or back to the release before."""

from collections.abc import Sequence
from dataclasses import replace

from ci.errors import AcsoError
from ci.release.completion import finish
from ci.release.execute import (
    Execution,
    complete,
    execute,
    extend,
    take_over,
    way_back,
)
from ci.release.model import Image, ReleaseContext, Request, Say, Validate
from ci.release.observe import crash_loops
from ci.release.observe.crash_loops import Examined
from ci.release.options import ReleaseOptions, unless_stopped
from ci.release.outcome import Outcome
from ci.release.plan.changes import Plan, plan, services_of
from ci.release.plan.saved import facts_of, require_same
from ci.release.records import images as kept_images
from ci.release.records import table
from ci.release.records.ancestry import require_contained, would_undo
from ci.release.records.lock import HeldLock, under_lock
from ci.release.records.release import (
    Entry,
    History,
    Kind,
    RecordedStack,
    Release,
    State,
    next_id,
    timestamp,
    with_first_step,
)
from ci.release.records.stacks import recorded
from ci.release.rollout.services import updates_for
from ci.release.unchanged import check_unchanged


async def deploy(
    context: ReleaseContext,
    images: Sequence[Image],
    request: Request,
    validate: Validate,
    say: Say,
    options: ReleaseOptions = ReleaseOptions(),  # noqa: B008 (frozen)
) -> Outcome:
    """Update every service to its image, all of them or none, and validate the result.

    Services that are up to date are not touched. On failure every service returns to the last
    validated release. A release that an earlier process left unfinished is taken over.

    Args:
        context: the environment.
        images: one for each agent, pushed, by digest.
        request: who asks for the release, and its source; recorded.
        validate: checks the environment once all services are stable.
        say: receives progress messages, one line each.
        options: how long to wait for the lock, what an interrupt does, and the saved plan.

    Returns:
        How it ended; call `raise_for_failure` for the exit code.

    Raises:
        LockedError: another process holds the lock of the environment.
        InterruptedReleaseError: the user stopped it before anything was changed.
        NewerReleaseError: the source does not contain the current release, which is somebody
            else's (`options.relate`); nothing was changed.
        PlanOutdatedError: the environment differs from the saved plan; nothing was changed.
        AwsError: an AWS call failed; nothing was changed.
    """

    async def work(held: HeldLock) -> Outcome:
        found = await crash_loops.examine(context, await table.history(context))
        execution = Execution(
            context=context, held=held, say=say, validate=validate, options=options
        ).reporting(*found.notes)
        versions = {image.agent: image.version for image in images}
        undone = would_undo(found.history, request, options.relate)
        require_contained(context.env, undone, versions, options.relate)
        execution = await _prepare(execution, found.history)
        return await _release(execution, found, images, request)

    return await under_lock(context, "deploy", say, work, options=options)


async def _prepare(execution: Execution, history: History) -> Execution:
    """Compare with the saved plan, add the infrastructure that is needed, verify what is there."""
    context, options = execution.context, execution.options
    if options.expected is not None:  # under the lock, so that nothing changes meanwhile
        found = facts_of(await services_of(context, history.services), history)
        require_same(context.env.name, options.expected, found)
    back = await way_back(context, history)
    stack = context.infrastructure.desired() if context.infrastructure else None
    ready = await extend(context, stack, execution.say)
    try:
        await options.verify(ready)
    except AcsoError:
        await complete(context, back.stack, execution.say)  # nothing stays of a refused release
        raise
    return replace(execution, context=ready, stack=stack, back=back)


async def _release(
    execution: Execution, found: Examined, images: Sequence[Image], request: Request
) -> Outcome:
    context, options, history = execution.context, execution.options, found.history
    planned = await unless_stopped(lambda: plan(context, images, history.services), options)
    updates = updates_for(planned.changes)
    if is_done(planned, history, recorded(execution.stack)):
        return await unless_stopped(lambda: check_unchanged(execution, found, updates), options)
    await kept_images.keep(context, images)
    release = _new_release(execution, request, history, planned)
    outcome = await execute(await take_over(execution, history, release), release, updates)
    return await finish(execution, outcome, release)


def is_done(plan: Plan, history: History, stack: RecordedStack | None = None) -> bool:
    """Return whether everything is up to date and runs the last validated release; pure."""
    if plan.changed or history.unfinished or history.current is None:
        return False
    known = history.current.stack
    if known and stack and known != stack:
        return False
    after = history.current.after
    return all(
        change.service in after and after[change.service].same_as(change.current.run)
        for change in plan.changes
    )


def _new_release(execution: Execution, request: Request, history: History, plan: Plan) -> Release:
    context = execution.context
    now = context.clock.now()
    id_ = next_id((release.id for release in history.releases), now)
    entries = tuple(
        Entry(
            agent=change.agent,
            service=change.service,
            action=str(change.action),
            before=history.before(change.service, change.current.run),
        )
        for change in plan.changes
    )
    release = Release(
        id=id_,
        environment=context.env.name,
        kind=Kind.DEPLOY,
        state=State.PLANNED,
        entries=entries,
        request=request,
        created_at=timestamp(now),
        holder=execution.held.holder,
        base=history.stable.id if history.stable else "",
        origin=id_,
        took_over=tuple(old.id for old in history.unfinished),
        agents=context.config.agents,
        stack=recorded(execution.stack),
    )
    return with_first_step(release, now)
