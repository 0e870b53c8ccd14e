"""Roll back by command: to the last validated release before the current one, or to a named one."""

from collections.abc import Sequence
from dataclasses import replace

from ci.aws import ecr, ecs
from ci.common.concurrency import parallel
from ci.config import Agent
from ci.errors import NothingToRollBackError, RollbackFailedError, TargetGoneError
from ci.release.completion import finish
from ci.release.execute import Execution, execute, extend, problems, take_over, way_back
from ci.release.model import ReleaseContext, Request, Say, ServiceRevision, Validate, agents_of
from ci.release.notifications import ended
from ci.release.observe import crash_loops
from ci.release.observe.crash_loops import Examined
from ci.release.options import ReleaseOptions, unless_stopped
from ci.release.outcome import Outcome, OutcomeKind
from ci.release.plan.changes import Action, services_of
from ci.release.records import stacks, table
from ci.release.records.lock import HeldLock, under_lock
from ci.release.records.release import (
    Entry,
    History,
    Kind,
    Release,
    State,
    advance,
    next_id,
    timestamp,
    with_first_step,
)
from ci.release.records.stacks import recorded
from ci.release.records.target import find_target, validated_releases
from ci.release.rollout import strategy
from ci.release.rollout.services import ServiceUpdate, updates_to
from ci.release.unchanged import check_unchanged


async def rollback(
    context: ReleaseContext,
    to: str | None,
    request: Request,
    validate: Validate,
    say: Say,
    options: ReleaseOptions = ReleaseOptions(),  # noqa: B008 (frozen)
) -> Outcome:
    """Return every service to an earlier validated release, validate and record that.

    If an earlier process left a release unfinished, this undoes it: the target is then the last
    validated release. Without one, the services that the unfinished release created are removed.

    Args:
        context: the environment.
        to: a validated release's id, or a revision or digest that it holds
            (`ci.release.records.target`); None: the last one before the current one.
        request: who asks for the rollback; recorded.
        validate: checks the environment once all services are stable.
        say: receives progress messages, one line each.
        options: how long to wait for the lock, and what an interrupt does.

    Raises:
        NothingToRollBackError: there is no earlier validated release.
        UsageError: `to` is not a validated release on record.
        TargetGoneError: a revision or an image of the target does not exist any more.
        LockedError: another process holds the lock of the environment.
        InterruptedReleaseError: the user stopped it before anything was changed.
    """

    async def work(held: HeldLock) -> Outcome:
        found = await crash_loops.examine(context, await table.history(context))
        execution = Execution(
            context=context, held=held, say=say, validate=validate, options=options
        ).reporting(*found.notes)
        history = found.history
        target = find_target(history, to)
        if target is None and history.unfinished:
            outcome = await _undo(execution, history)
            options.notify(ended(outcome))
            return outcome
        if target is None:
            message = f"{context.env.name} has no validated release before the current one"
            raise NothingToRollBackError(message, hint=f"./acso status --env {context.env.name}")
        await unless_stopped(
            lambda: _require_revisions(context, target, validated_releases(history)), options
        )
        known = " (the current one: services that differ from it are restored)"
        say(f"rolling back to release {target.id}{known * (target is history.current)}")
        return await _return_to(execution, found, target, request)

    return await under_lock(context, "rollback", say, work, options=options)


async def _return_to(
    execution: Execution, found: Examined, target: Release, request: Request
) -> Outcome:
    """Execute a new release that returns to an earlier one: agents, infrastructure, services."""
    context, say, history = execution.context, execution.say, found.history
    back = await way_back(context, history)
    stack = await stacks.read(context, target.stack)
    ready = await extend(context.with_agents(_agents(context, target)), stack, say, back=True)
    execution = replace(execution, context=ready, stack=stack, back=back)
    release = await _new_release(execution, request, history, target)
    updates = await updates_to(ready, release.after)
    if _moves_nothing(release, updates, history):
        execution = execution.noted(f"release {target.id} runs already; no release was made")
        return await check_unchanged(execution, found, updates)
    outcome = await execute(await take_over(execution, history, release), release, updates)
    if outcome.kind is OutcomeKind.DEPLOYED:
        notes = (*outcome.notes, *_moved(release))
        outcome = replace(outcome, kind=OutcomeKind.RESTORED, back_on=target.origin, notes=notes)
    return await finish(execution, outcome, release)


def _moves_nothing(release: Release, updates: Sequence[ServiceUpdate], history: History) -> bool:
    """Return whether everything is as the target lists it, and nothing is left unfinished; pure."""
    current = history.current
    same = current is not None and current.stack == release.stack and not history.unfinished
    removed = any(entry.action == Action.REMOVE for entry in release.entries)
    return same and not removed and all(item.action is Action.NONE for item in updates)


def _moved(release: Release) -> list[str]:
    """Return a line for each service that a rollback moved: from which version to which."""

    def version(run: ServiceRevision | None) -> str:
        return f"{run.version or 'unknown'} (revision {run.number})" if run else "none"

    return [
        f"{entry.agent}: {version(entry.before)} -> {version(entry.after)}"
        for entry in release.entries
        if entry.action != Action.NONE
    ]


def _agents(context: ReleaseContext, target: Release) -> tuple[Agent, ...]:
    """Return the agents of the target; those of acso.toml for a record without agents."""
    known = target.agents or context.config.agents
    return tuple(agent for agent in known if context.env.service(agent) in target.after)


async def _require_revisions(context: ReleaseContext, target: Release, others: str) -> bool:
    """Return True if every revision of the target, and its image, still exists.

    Raises:
        TargetGoneError: one of them does not.
    """

    async def gone(run: ServiceRevision) -> str:
        name = run.revision.rpartition("/")[2]
        found = await ecs.task_definition(context.aws, run.revision)
        if found is None or not found.active:
            return f"{name} is deregistered"
        repository, _, digest = found.image.partition("/")[2].partition("@")
        if await ecr.has(context.aws, repository, digest):
            return ""
        return f"the image of {name} is not in the registry any more"

    missing = [text for text in await parallel(gone, target.after.values()) if text]
    if not missing:
        return True
    message = f"cannot roll back to release {target.id}: {'; '.join(missing)}; nothing was changed"
    again = f"check out {target.request.commit[:12]} and deploy it; " * bool(target.request.commit)
    raise TargetGoneError(message, hint=f"{again}{others}")


async def _new_release(
    execution: Execution, request: Request, history: History, target: Release
) -> Release:
    """Return the new release that a rollback records: from what runs now to the target.

    Services of agents that the target does not have are removed after it has succeeded.
    """
    context = execution.context
    now = context.clock.now()
    mine = {
        service: agent.name for service, agent in agents_of(context.config, context.env).items()
    }
    states = await services_of(context, history.services)
    agents = {**history.services, **mine}
    entries = [
        _entry(agents[service], service, state.run, history, target if service in mine else None)
        for service, state in states.items()
        # An agent that acso.toml has not any more, and of which the record says nothing else.
        if service in mine or service not in target.after
    ]
    release = Release(
        id=next_id((item.id for item in history.releases), now),
        environment=context.env.name,
        kind=Kind.ROLLBACK,
        state=State.PLANNED,
        entries=tuple(entries),
        agents=context.config.agents,
        stack=recorded(execution.stack),
        request=request,
        created_at=timestamp(now),
        holder=execution.held.holder,
        base=history.stable.id if history.stable else "",
        origin=target.origin,
        took_over=tuple(item.id for item in history.unfinished),
    )
    return with_first_step(release, now)


def _entry(
    agent: str,
    service: str,
    running: ServiceRevision | None,
    history: History,
    target: Release | None,
) -> Entry:
    after = target.after[service] if target else None
    changed = Action.CHANGE if after else Action.REMOVE
    return Entry(
        agent=agent,
        service=service,
        action=str(Action.NONE if after and after == running else changed),
        before=history.before(service, running),
        after=after,
    )


async def _undo(execution: Execution, history: History) -> Outcome:
    """Return the services to what ran before the unfinished releases."""
    context, say = execution.context, execution.say
    began = context.clock.monotonic()
    newest = history.unfinished[0]
    services = {entry.service: entry for item in history.unfinished for entry in item.entries}
    before = {service: history.before(service, None) for service in services}
    result, expectations = await strategy.of(context.env).back(context, before, say)
    why, failures = await problems(context, result, expectations)
    if why:
        env = f"--env {context.env.name}"
        hint = f"./acso rollback {env} tries again; ./acso status {env}"
        raise RollbackFailedError(why, hint=hint)
    for item in history.unfinished:
        state = f"stopped while {item.state.replace('_', ' ')} ({item.holder}); undone by rollback"
        ended = advance(item, State.FAILED, context.clock.now(), why=state)
        owner = history.owners.get(item.id, "")
        await table.write(context, ended, execution.held.token, took_from=owner)
    return Outcome(
        kind=OutcomeKind.UNDONE,
        environment=context.env.name,
        release=newest.id,
        services=(),
        seconds=context.clock.monotonic() - began,
        failures=failures,
    )
