"""Deploying: from images to a validated release, or back to the one before."""

from collections.abc import Sequence
from dataclasses import replace

from ci.release.execute import Execution, execute, problems
from ci.release.model import Image, ReleaseContext, Request, Say, Validate
from ci.release.observe.notifications import ended
from ci.release.options import ReleaseOptions, unless_stopped
from ci.release.outcome import Outcome, OutcomeKind, ServiceResult
from ci.release.plan.changes import Plan, plan
from ci.release.plan.saved import facts_of, require_same
from ci.release.records import table
from ci.release.records.lock import Held, under_lock
from ci.release.records.release import (
    Entry,
    History,
    Kind,
    Release,
    State,
    advance,
    begin,
    next_id,
    stamp,
)
from ci.release.records.retention import tidy
from ci.release.rollout.services import Aim, aim, limits, looked_at
from ci.release.rollout.watch import Teller, watch


async def deploy(
    context: ReleaseContext,
    images: Sequence[Image],
    request: Request,
    validate: Validate,
    say: Say,
    options: ReleaseOptions = ReleaseOptions(),  # noqa: B008 (frozen)
) -> Outcome:
    """Bring every service to its image, all of them or none, and validate the result.

    Services that are as wanted are not touched. On failure every service goes back to the last
    validated release. A release that an earlier process left unfinished is taken over.

    Args:
        context: the environment.
        images: one an agent, pushed, by digest.
        request: who asks, and for what source; recorded.
        validate: judges the environment once all services are stable.
        say: told of progress, a line at a time.
        options: whether to wait for the lock, what the user's stopping means, and what was planned.

    Returns:
        How it ended; call `raise_for_failure` for the exit code.

    Raises:
        LockedError: another process releases here.
        InterruptedReleaseError: the user stopped it before anything was begun.
        PlanOutdatedError: the environment differs from the saved plan; nothing was begun.
        AwsError: AWS could not be asked; nothing was begun.
    """

    async def work(held: Held) -> Outcome:
        execution = Execution(
            context=context, held=held, say=say, validate=validate, options=options
        )
        history = await table.history(context)
        planned = await unless_stopped(lambda: plan(context, images), options)
        if options.expected is not None:  # compared under the lock: nobody changes it now
            found = facts_of(planned.found, history)
            require_same(context.environment.name, options.expected, found)
        aims = [aim(change) for change in planned.changes]
        if is_done(planned, history):
            return await unless_stopped(lambda: _look(execution, history, aims), options)
        release = _planned(context, request, history, planned, held)
        outcome = await execute(await take_up(execution, history, release), release, aims)
        options.notify(ended(outcome))
        return await tidy(context, outcome)

    return await under_lock(context, "deploy", say, work, options=options)


def is_done(plan: Plan, history: History) -> bool:
    """Tell whether every service is as wanted and the last validated release says so; pure."""
    if plan.changed or history.unfinished or history.current is None:
        return False
    after = history.current.after
    return all(after.get(c.wanted.service) == c.current.run for c in plan.changes)


async def take_up(execution: Execution, history: History, release: Release) -> Execution:
    """Record the release as planned, then end those that it takes over.

    In this order a process that dies in between leaves two unfinished releases, never none: what
    to return to is in both.
    """
    context, token = execution.context, execution.held.token
    await table.write(context, release, token)
    notes = []
    for old in history.unfinished:
        why = f"stopped while {old.state.replace('_', ' ')} ({old.holder}); taken over"
        ended = advance(old, State.FAILED, context.clock.now(), why=f"{why} by {release.id}")
        await table.write(context, ended, token, took_from=history.owners.get(old.id, ""))
        notes.append(f"release {old.id} {why}")
        execution.say(notes[-1])
    return replace(execution, notes=tuple(notes))


def _planned(
    context: ReleaseContext, request: Request, history: History, plan: Plan, held: Held
) -> Release:
    now = context.clock.now()
    id_ = next_id((release.id for release in history.releases), now)
    entries = tuple(
        Entry(
            agent=change.agent,
            service=change.wanted.service,
            action=str(change.action),
            before=history.before(change.wanted.service, change.current.run),
        )
        for change in plan.changes
    )
    release = Release(
        id=id_,
        environment=context.environment.name,
        kind=Kind.DEPLOY,
        state=State.PLANNED,
        entries=entries,
        request=request,
        created_at=stamp(now),
        holder=held.holder,
        base=history.current.id if history.current else "",
        origin=id_,
        took_over=tuple(old.id for old in history.unfinished),
    )
    return begin(release, now)


async def _look(execution: Execution, history: History, aims: Sequence[Aim]) -> Outcome:
    """Nothing is to be changed: see that it works nevertheless."""
    context = execution.context
    began = context.clock.monotonic()
    goals = {goal.service: goal for goal in map(looked_at, aims)}
    patience = limits(context, context.environment.health_grace)
    watched = await watch(context, list(goals.values()), patience, Teller(_quiet))
    why, failures = await problems(context, watched, goals)
    if not why:
        report = await execution.validate()
        why = "" if report.ok else f"validation failed: {report.summary()}"
    return Outcome(
        kind=OutcomeKind.UNHEALTHY if why else OutcomeKind.NOTHING_TO_DO,
        environment=context.environment.name,
        release=history.current.id if history.current else "",
        services=tuple(
            ServiceResult(
                agent=item.agent.name,
                service=item.service,
                action=str(item.action),
                url=context.url(item.agent.name),
                run=item.run,
            )
            for item in aims
        ),
        seconds=context.clock.monotonic() - began,
        why=why,
        failures=failures,
    )


def _quiet(line: str) -> None:
    """Say nothing: that all is as it was is told by the outcome."""
