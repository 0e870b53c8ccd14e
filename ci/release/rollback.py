"""Going back by hand: to the last validated release before the current one, or to a named one."""

from collections.abc import Mapping
from dataclasses import replace

from ci.aws import ecs
from ci.common.concurrency import parallel
from ci.errors import NothingToRollBackError, RollbackFailedError, TargetGoneError
from ci.release.deploy import take_up
from ci.release.execute import Execution, execute, problems
from ci.release.model import ReleaseContext, Request, Say, ServiceRevision, Validate, agents_of
from ci.release.observe.notifications import ended
from ci.release.options import ReleaseOptions, unless_stopped
from ci.release.outcome import Outcome, OutcomeKind
from ci.release.plan.changes import current_services
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
from ci.release.records.target import find, validated
from ci.release.rollout import strategy
from ci.release.rollout.services import aims_at


async def rollback(
    context: ReleaseContext,
    to: str | None,
    request: Request,
    validate: Validate,
    say: Say,
    options: ReleaseOptions = ReleaseOptions(),  # noqa: B008 (frozen)
) -> Outcome:
    """Return every service to an earlier validated release, verify and record that.

    A release that an earlier process left unfinished is undone by this: the target is then the
    last validated release; without any, the services that it made are removed.

    Args:
        context: the environment.
        to: a validated release's id, or a revision or digest that it holds
            (`ci.release.records.target`); None: the last one before the current one.
        request: who asks; recorded.
        validate: judges the environment once all services are stable.
        say: told of progress, a line at a time.
        options: whether to wait for the lock, and what the user's stopping means.

    Raises:
        NothingToRollBackError: there is no such release.
        UsageError: `to` is not on record as validated.
        TargetGoneError: a revision of it is deregistered.
        LockedError: another process releases here.
        InterruptedReleaseError: the user stopped it before anything was begun.
    """

    async def work(held: Held) -> Outcome:
        execution = Execution(
            context=context, held=held, say=say, validate=validate, options=options
        )
        history = await table.history(context)
        target = find(history, to)
        if target is None and history.unfinished:
            outcome = await _undo(execution, history)
            options.notify(ended(outcome))
            return outcome
        if target is None:
            message = f"{context.environment.name} has no validated release before the current one"
            raise NothingToRollBackError(
                message, hint=f"./acso status --env {context.environment.name}"
            )
        runs = _wanted(context, target)
        await unless_stopped(lambda: _whole(context, target, runs, validated(history)), options)
        known = " (the current one: what differs from it is set right)"
        say(f"going back to release {target.id}{known * (target is history.current)}")
        release = await _planned(context, request, history, target, held)
        execution = await take_up(execution, history, release)
        aims = await aims_at(context, release.after)
        outcome = await execute(execution, release, aims)
        if outcome.kind is OutcomeKind.DEPLOYED:
            outcome = replace(outcome, kind=OutcomeKind.RESTORED, back_on=target.origin)
        options.notify(ended(outcome))
        return await tidy(context, outcome)

    return await under_lock(context, "rollback", say, work, options=options)


def _wanted(context: ReleaseContext, target: Release) -> Mapping[str, ServiceRevision]:
    """Return what the target lists of the agents that there still are."""
    known = agents_of(context.config, context.environment)
    return {service: run for service, run in target.after.items() if service in known}


async def _whole(
    context: ReleaseContext, target: Release, runs: Mapping[str, ServiceRevision], others: str
) -> bool:
    """Return True if ECS still has every revision of the target; raises `TargetGoneError`."""

    async def gone(run: ServiceRevision) -> str:
        found = await ecs.task_definition(context.aws, run.revision)
        return "" if found and found.active else run.revision.rpartition("/")[2]

    missing = [name for name in await parallel(gone, runs.values()) if name]
    if not missing:
        return True
    many = f"revisions {', '.join(missing)} are" if len(missing) > 1 else f"{missing[0]} is"
    message = f"release {target.id} cannot be returned to: {many} deregistered; nothing was changed"
    again = f"check out {target.request.commit[:12]} and deploy it; " * bool(target.request.commit)
    raise TargetGoneError(message, hint=f"{again}{others}")


async def _planned(
    context: ReleaseContext, request: Request, history: History, target: Release, held: Held
) -> Release:
    """Return the release that a rollback is: the target's revisions, and what is there now."""
    now = context.clock.now()
    # An agent added since then has no place in the target: it stays as it is.
    services = dict.fromkeys([*target.after, *agents_of(context.config, context.environment)])
    states = await current_services(context, list(services))
    entries = []
    for service, agent in agents_of(context.config, context.environment).items():
        running = states[service].run
        after: ServiceRevision | None = target.after.get(service, running)
        if after is None:
            continue
        entries.append(
            Entry(
                agent=agent.name,
                service=service,
                action="none" if after == running else "change",
                before=history.before(service, running),
                after=after,
            )
        )
    release = Release(
        id=next_id((item.id for item in history.releases), now),
        environment=context.environment.name,
        kind=Kind.ROLLBACK,
        state=State.PLANNED,
        entries=tuple(entries),
        request=request,
        created_at=stamp(now),
        holder=held.holder,
        base=history.current.id if history.current else "",
        origin=target.origin,
        took_over=tuple(item.id for item in history.unfinished),
    )
    return begin(release, now)


async def _undo(execution: Execution, history: History) -> Outcome:
    """Bring the services back to where they were before the unfinished releases."""
    context, say = execution.context, execution.say
    began = context.clock.monotonic()
    newest = history.unfinished[0]
    services = {entry.service: entry for item in history.unfinished for entry in item.entries}
    before = {service: history.before(service, None) for service in services}
    watched, goals = await strategy.of(context.environment).back(context, before, say)
    why, failures = await problems(context, watched, goals)
    if why:
        raise RollbackFailedError(why, hint=f"./acso status --env {context.environment.name}")
    for item in history.unfinished:
        state = f"stopped while {item.state.replace('_', ' ')} ({item.holder}); undone by rollback"
        ended = advance(item, State.FAILED, context.clock.now(), why=state)
        owner = history.owners.get(item.id, "")
        await table.write(context, ended, execution.held.token, took_from=owner)
    return Outcome(
        kind=OutcomeKind.UNDONE,
        environment=context.environment.name,
        release=newest.id,
        services=(),
        seconds=context.clock.monotonic() - began,
        failures=failures,
    )
